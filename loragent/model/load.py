"""Loading the shared weights: from a folder or a hub id already on this machine, onto CPU or GPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BaseModelError
from .default import NAME, default_folder, ensure_default
from .fingerprint import fingerprint_folder
from .home import home, recall, remember
from .joined import join_fans
from .template import ChatTemplate

_DTYPES = {"float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The shared base: one copy of the weights and what belongs to it.

    Attributes:
        model: a transformers causal LM in eval mode; its parameters never require gradients.
        tokenizer: its tokenizer.
        template: messages to tokens and back.
        path: a folder that stock transformers loads.
        fingerprint: see :func:`fingerprint_folder`.
        joined: weights (and biases) of layers that read the same input, one above the other, by their paths.
        int8: answers are computed with weights and activations in 8 bits; the weights here stay as they are, for
            training.
    """

    model: Any
    tokenizer: Any
    template: ChatTemplate
    path: Path
    fingerprint: str
    joined: Mapping[tuple[str, ...], tuple[Tensor, Tensor | None]] = field(default_factory=dict)
    int8: bool = False

    def _first(self) -> Tensor:
        parameter: Tensor = next(iter(self.model.parameters()))
        return parameter

    @property
    def device(self) -> torch.device:
        return self._first().device

    @property
    def dtype(self) -> torch.dtype:
        return self._first().dtype

    @property
    def context_length(self) -> int:
        """Tokens the base was made for; of a base with sliding windows, what one window sees whole."""
        window = getattr(self.model.config, "sliding_window", None)
        return min(int(self.model.config.max_position_embeddings), int(window or 1 << 60))

    @property
    def name(self) -> str:
        return self.path.name

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of every linear layer of the decoder, by path; the head is none of them."""
        return {
            name: (module.out_features, module.in_features)
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and "lm_head" not in name
        }


def load_model(
    source: str | Path | None, device: str | None, dtype: str | None, *, download: bool = False
) -> LoadedModel:
    """Load a base.

    Args:
        source: None or the default's name, a model folder, or a hub id that is in the local hub cache.
        device: "cpu", "cuda", ...; by default CUDA where there is one.
        dtype: "float32", "bfloat16" or "int8" (answers in 8 bits, weights in float32); by default bfloat16 on CUDA,
            float32 on a CPU.
        download: allow a hub id to be fetched. Nothing is fetched otherwise, but for the default base.

    Raises:
        BaseModelError: not found, not safetensors, unknown device or dtype, no chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    folder = _locate(source, download)
    place = _device(device)
    int8 = dtype == "int8"
    if int8 and place.type != "cpu":
        raise BaseModelError(f"int8 is for CPUs, not for {place}", 'use dtype="bfloat16"')
    kind = _dtype(None if int8 else dtype, place)
    try:
        fingerprint = _fingerprint(folder)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{folder} can't be read ({error})", "fetch or copy it again") from error
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=kind,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelError(
            f"{folder} can't be loaded ({error})", "name a folder that save_pretrained wrote"
        ) from error
    model.requires_grad_(False).eval().to(place)
    template = ChatTemplate(tokenizer, _end_ids(model, tokenizer))
    joined = {} if int8 else join_fans(model)
    return LoadedModel(model, tokenizer, template, folder, fingerprint, joined, int8)


def is_default(source: str | Path | None) -> bool:
    """Whether that names the default base."""
    return source is None or str(source) == NAME


def on_cuda(device: str | None) -> bool:
    """Whether a base that is asked to be on that device, or on none in particular, will be on a GPU."""
    return _device(device).type == "cuda"


def _locate(source: str | Path | None, download: bool) -> Path:
    if source is None or is_default(source):
        return ensure_default()
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BaseModelError(f"{folder} has no config.json", "name a folder that save_pretrained wrote")
        return folder.resolve()
    if folder.is_absolute() or str(source).startswith("."):
        raise BaseModelError(f"{folder} is no folder", "name a model folder, a hub id, or nothing for the default base")
    return _from_hub(str(source), download)


def _from_hub(name: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt"]
    try:
        return Path(snapshot_download(name, local_files_only=not download, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError) as error:
        raise BaseModelError(
            f"{name!r} is neither a folder nor in the local hub cache",
            "pass download=True to fetch it from the hub, or name a folder",
        ) from error


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise BaseModelError(f"{name!r} is no device", 'use "cpu" or "cuda"') from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BaseModelError("no CUDA device here", 'use device="cpu"')
    return device


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise BaseModelError(f"{name!r} is no dtype of a base", f"use one of {', '.join(_DTYPES)}, int8")
    return _DTYPES[name]


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id
    ends = set(configured if isinstance(configured, list) else [configured]) | {tokenizer.eos_token_id}
    return {int(e) for e in ends if e is not None}


def _fingerprint(folder: Path) -> str:
    """The fingerprint, remembered under the newest file's time, since hashing reads every weight."""
    known = folder / "fingerprint.json"
    if folder == default_folder() and known.exists():
        return str(json.loads(known.read_text())["fingerprint"])
    state = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir() if p.is_file())
    cache = home() / "fingerprints.json"
    key = f"{folder}|{state}"
    remembered = recall(cache)
    if key not in remembered:
        remembered[key] = fingerprint_folder(folder)
        remember(cache, remembered)
    return str(remembered[key])
