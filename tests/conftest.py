"""A tiny random base, made once a session, and a library to play with."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import loragent as la
from loragent.engine import Sequence
from loragent.engine.runner import Runner
from loragent.model.default import CHAT_TEMPLATE

torch.set_num_threads(1 if os.environ.get("PYTEST_XDIST_WORKER") else 2)


def save_tiny(folder: Path, seed: int = 0, layers: int = 4, hidden: int = 32) -> Path:
    """A random Llama with a byte-level tokenizer and loragent's chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(["hello there, how may I help you today?"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        eos_token_id=2, bos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base's folder."""
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No fast test reads or writes the user's cache."""
    if not {"slow", "gpu"} & set(request.keywords):
        monkeypatch.setenv("LORAGENT_HOME", str(tmp_path / "home"))


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> Iterator[la.Base]:
    """The tiny base in float32, with an empty library."""
    with la.Base.load(tiny, device="cpu", library=tmp_path / "library") as loaded:
        yield loaded


MakePlugin = Callable[..., Path]


@pytest.fixture
def make_plugin(tiny: Path, tmp_path: Path) -> MakePlugin:
    """Writes a random plugin with stock PEFT: ``make_plugin("a", seed=1, rank=4)``."""

    def make(name: str, *, seed: int = 1, rank: int = 4, **config: object) -> Path:
        torch.manual_seed(seed)
        model = LlamaForCausalLM.from_pretrained(tiny)
        settings = {
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            "lora_alpha": 2 * rank,
            "init_lora_weights": False,
            **config,
        }
        get_peft_model(model, LoraConfig(r=rank, **settings)).save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


def read_whole(runner: Runner, rows: list[Sequence]) -> torch.Tensor:
    """Logits [rows, vocabulary] behind whole prompts, row i in slot i."""
    for slot, row in enumerate(rows):
        row.slot = slot
    return runner.read(rows, [len(row.ids) for row in rows])


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    """Rows as a JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def dialogues(count: int) -> list[dict[str, object]]:
    """Small dialogues that a tiny model can learn."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"room {i} please"},
                {"role": "assistant", "content": f"we come to room {i} soon"},
            ]
        }
        for i in range(count)
    ]
