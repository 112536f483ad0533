"""Faster, leaner forms of what a trained decoder layer does; the same numbers up to rounding.

PEFT owns the adapters' parameters and how they are saved. Here their layers get a forward pass that keeps only its
input for the backward pass, and casts frozen weights when it needs them instead of holding copies.
"""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import AttentionInterface

ATTENTION = "loragent_math"


class _LoraLinear(torch.autograd.Function):
    """``y = x W^T + bias + s (x A^T) B^T`` with W frozen; gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """x: [..., in]; weight: [out, in]; a: [r, in]; b: [out, r] -> [..., out]."""
        ctx.save_for_backward(x, weight, a, b)
        ctx.scaling = scaling
        y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        flat = y.view(-1, y.shape[-1])
        inner = x.reshape(-1, x.shape[-1]) @ a.to(x.dtype).T
        flat.addmm_(inner, b.to(x.dtype).T, alpha=scaling)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, Tensor, Tensor, None]:
        x, weight, a, b = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1]).to(x.dtype)  # [n, out]
        flat = x.reshape(-1, x.shape[-1])  # [n, in]
        low_a, low_b = a.to(x.dtype), b.to(x.dtype)
        inner = flat @ low_a.T  # [n, r]; cheaper to compute again than to keep
        grad_inner = (grad @ low_b) * ctx.scaling  # [n, r]
        grad_b = (grad.T @ inner).to(b.dtype) * ctx.scaling
        grad_a = (grad_inner.T @ flat).to(a.dtype)
        grad_x = grad @ weight.to(x.dtype)
        grad_x.addmm_(grad_inner, low_a)
        return grad_x.view(x.shape), None, None, grad_a, grad_b, None


def streamline(adapted: Any, compute: torch.dtype) -> None:
    """Give the adapted layers of a twin their lean forward pass, in place.

    Layers with dropout or with another variant than plain LoRA keep PEFT's own.

    Args:
        compute: dtype of the activations in the trained layers.
    """
    for module in adapted.modules():
        if isinstance(module, LoraLinear) and _is_plain(module):
            module.forward = types.MethodType(_forward, module)
            module._loragent_compute = compute
    if next(adapted.parameters()).device.type == "cpu":
        adapted.config._attn_implementation = ATTENTION  # the twin's own copy of the configuration


def _is_plain(module: Any) -> bool:
    (name,) = module.active_adapters
    return not module.use_dora[name] and isinstance(module.lora_dropout[name], nn.Identity)


def _forward(self: Any, x: Tensor) -> Tensor:
    (name,) = self.active_adapters
    base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
    y: Tensor = _LoraLinear.apply(x.to(self._loragent_compute), base.weight, base.bias, a, b, self.scaling[name])  # type: ignore[no-untyped-call]
    return y


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Causal attention as plain products: half the time of torch's fused CPU kernel at these lengths.

    Args:
        query: [rows, heads, tokens, head_dim]; key, value: [rows, kv_heads, tokens, head_dim].
        attention_mask: not needed: rows are padded behind, so causality keeps the padding out.
    """
    rows, heads, tokens, width = query.shape
    groups = key.shape[1]
    # Query heads that share a key head are one long block, so keys are never repeated.
    grouped = (query * scaling).reshape(rows, groups, -1, width)
    scores = (grouped @ key.transpose(-1, -2)).view(rows, heads, tokens, tokens)
    future = torch.full((tokens, tokens), -torch.inf, dtype=scores.dtype, device=scores.device).triu_(1)
    weights = torch.softmax(scores.add_(future), -1)
    mixed = (weights.view(rows, groups, -1, tokens) @ value).view(rows, heads, tokens, width)
    return mixed.transpose(1, 2), None


AttentionInterface.register(ATTENTION, _attention)
