"""What makes a base that base: weights, configuration, tokenizer and chat template, in one hash."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..core import BaseModelError

# Written by whoever saved the folder; says nothing about what the model computes.
_VOLATILE = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures"}


def fingerprint_folder(folder: Path) -> str:
    """Hash a model folder: 16 hex digits of sha256.

    Tensors enter by name, dtype, shape and bytes in the order of their names, so that sharding and the
    device or dtype that the model is loaded in make no difference.

    Raises:
        BaseModelError: the folder holds no safetensors, or a damaged file.
    """
    digest = hashlib.sha256()
    _hash_weights(folder, digest)
    digest.update(_stable_json(folder / "config.json"))
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    digest.update(_chat_template(folder).encode())
    return digest.hexdigest()[:16]


def _hash_weights(folder: Path, digest: Any) -> None:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BaseModelError(
            f"{folder} holds no .safetensors file", "loragent reads safetensors only; convert pickled weights first"
        )
    index: dict[str, Path] = {}
    try:
        for path in files:
            with safe_open(path, framework="pt") as tensors:
                index.update(dict.fromkeys(tensors.keys(), path))
        with ExitStack() as stack:
            handles = {path: stack.enter_context(safe_open(path, framework="pt")) for path in files}
            for name in sorted(index):
                tensor = handles[index[name]].get_tensor(name).contiguous()
                digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
                if tensor.numel():
                    digest.update(tensor.flatten().view(torch.uint8).numpy())
    except SafetensorError as error:
        raise BaseModelError(f"{folder}: damaged safetensors ({error})", "fetch or copy the folder again") from error


def _stable_json(path: Path) -> bytes:
    values = json.loads(path.read_text()) if path.exists() else {}
    return json.dumps({k: v for k, v in values.items() if k not in _VOLATILE}, sort_keys=True).encode()


def _chat_template(folder: Path) -> str:
    jinja = folder / "chat_template.jinja"
    if jinja.exists():
        return jinja.read_text()
    config = folder / "tokenizer_config.json"
    template = json.loads(config.read_text()).get("chat_template") if config.exists() else None
    return json.dumps(template)
