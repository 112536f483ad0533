"""What the engine is measured against: stock PEFT and transformers, used as their manuals say.

They compute on the thread that the engine computes on: a second team of OpenMP workers in the process would halve the
speed of both (loragent/model/compute.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ...base import Base

RANK = 8


def random_plugins(base: Base, folder: Path, count: int, layers: int | None = None) -> list[Path]:
    """PEFT folders with random weights, rank 8 on every linear layer, or on those of the topmost layers."""
    depths = {name: int(name.partition("layers.")[2].partition(".")[0]) for name in base.shapes}
    lowest = max(depths.values()) + 1 - layers if layers else 0
    targets = sorted({name.rpartition(".")[2] for name in base.shapes})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": targets,
        "bias": "none",
        "base_model_name_or_path": str(base.path),
        "inference_mode": True,
    }
    made = []
    for index in range(count):
        random = torch.Generator().manual_seed(index)
        weights = {}
        for name, (out, inner) in base.shapes.items():
            if depths[name] < lowest:
                continue
            key = f"base_model.model.{name}"
            weights[f"{key}.lora_A.weight"] = torch.randn(RANK, inner, generator=random) / inner**0.5
            weights[f"{key}.lora_B.weight"] = torch.randn(out, RANK, generator=random) * 0.01
        made.append(folder / f"random-{layers or 'all'}-{index}")
        made[-1].mkdir()
        save_file(weights, made[-1] / "adapter_model.safetensors")
        chosen = {"layers_to_transform": sorted({d for d in depths.values() if d >= lowest})} if layers else {}
        (made[-1] / "adapter_config.json").write_text(json.dumps(config | chosen))
    return made


class Rival:
    """Stock PEFT over stock transformers, in one dtype; its own copy of the base.

    Args:
        base: the base's folder.
        device, dtype: of weights and computation.
        plugins: all loaded.
    """

    def __init__(self, base: Path, device: str, dtype: str, plugins: Sequence[Path]) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
        self._model: Any = PeftModel.from_pretrained(model, plugins[0], adapter_name="p0").eval()
        for i, plugin in enumerate(plugins[1:], start=1):
            self._model.load_adapter(plugin, adapter_name=f"p{i}")
        self._model.to(device, getattr(torch, dtype))
        self._names = [f"p{i}" for i in range(len(plugins))]
        self._bare: Any = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype)).eval().to(device)

    def decode(self, prompts: Sequence[list[int]], tokens: int, *, mixed: bool) -> float:
        """Tokens a second behind the first, of rows in one batch, each with its own adapter or none."""
        ids = torch.tensor(prompts, device=self._bare.device)
        if not mixed:
            return self._rate(self._bare, ids, tokens, {})
        return self._rate(self._model, ids, tokens, {"adapter_names": self._names[: len(prompts)]})

    def one_at_a_time(self, prompt: list[int], tokens: int) -> float:
        """Tokens a second behind the first, adapter after adapter; three of them, for time."""
        rates = []
        for name in self._names[:3]:
            self._model.set_adapter(name)
            rates.append(self._rate(self._model, torch.tensor([prompt], device=self._bare.device), tokens, {}))
        return len(rates) / sum(1 / r for r in rates)

    def _rate(self, model: Any, ids: torch.Tensor, tokens: int, more: dict[str, Any]) -> float:
        seconds = []
        settings = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 2, **more}
        for count in (1, tokens):
            began = time.perf_counter()
            with torch.inference_mode():
                model.generate(input_ids=ids, min_new_tokens=count, max_new_tokens=count, **settings)
            seconds.append(time.perf_counter() - began)
        return len(ids) * (tokens - 1) / (seconds[1] - seconds[0])
