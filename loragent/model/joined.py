"""Weights of layers that read the same input, laid one above the other, so that one product serves them all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FANS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def join_fans(model: Any) -> dict[tuple[str, ...], tuple[Tensor, Tensor | None]]:
    """Move the weights of such layers together, in place: each becomes a part of one tensor, and no copy is left.

    Returns:
        By the layers' paths: weight [sum of out, in], and bias [sum of out] where all have one.
    """
    joined = {}
    for path, module in model.named_modules():
        for names in FANS:
            layers = [getattr(module, name, None) for name in names]
            if not all(type(layer) is nn.Linear for layer in layers):
                continue
            biased = [layer.bias is not None for layer in layers if layer is not None]
            if any(biased) and not all(biased):
                continue
            weight = _join(layers, "weight")
            bias = _join(layers, "bias") if all(biased) else None
            joined[tuple(f"{path}.{name}" for name in names)] = weight, bias
    return joined


def _join(layers: Any, name: str) -> Tensor:
    """One tensor of all, of which the layers' own become views."""
    whole = torch.cat([getattr(layer, name).detach() for layer in layers])
    at = 0
    for layer in layers:
        size = len(getattr(layer, name))
        setattr(layer, name, nn.Parameter(whole[at : at + size], requires_grad=False))
        at += size
    return whole
