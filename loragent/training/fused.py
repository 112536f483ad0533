"""Faster, leaner forms of what a trained decoder layer does; the same numbers up to rounding.

Each is one autograd function that keeps the few tensors which are dear to compute again (the inputs of the
products, and what the products gave) and computes the cheap ones (activations, norms, softmax, adapters' inner
products) a second time in the backward pass. Frozen weights are cast when they are used; autograd casts the adapters'
gradients back to float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 256  # queries of attention at a time


class Projection(NamedTuple):
    """A frozen linear layer and its adapter: ``y = x W^T + bias + s (x A^T) B^T``.

    weight: [out, in]; bias: [out] or None; a: [r, in]; b: [out, r].
    """

    weight: Tensor
    bias: Tensor | None
    a: Tensor
    b: Tensor
    scaling: float

    def at(self, dtype: torch.dtype) -> Projection:
        """The same in the dtype that is computed in."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return Projection(self.weight.to(dtype), bias, self.a.to(dtype), self.b.to(dtype), self.scaling)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, out]."""
        return F.linear(x, self.weight, self.bias).addmm_(x @ self.a.T, self.b.T, alpha=self.scaling)

    def backward(self, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x [n, in], A and B, from that of y [n, out]."""
        inner = (grad @ self.b).mul_(self.scaling)  # [n, r]
        grad_b = (grad.T @ (x @ self.a.T)).mul_(self.scaling)
        return (grad @ self.weight).addmm_(inner, self.a), inner.T @ x, grad_b


class LoraLinear(torch.autograd.Function):
    """A :class:`Projection`; gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """x: [..., in] -> [..., out]."""
        ctx.save_for_backward(x, weight, a, b)
        ctx.scaling = scaling
        y = Projection(weight, bias, a, b, scaling).at(x.dtype).forward(_rows(x))
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        projection = Projection(weight, None, a, b, ctx.scaling).at(x.dtype)
        grad_x, grad_a, grad_b = projection.backward(_rows(x), _rows(grads[0]).to(x.dtype))
        return grad_x.view(x.shape), None, None, grad_a, grad_b, None


class GatedMlp(torch.autograd.Function):
    """``down(silu(gate(x)) * up(x))``; gradients for x and the adapters. Keeps x and what gate and up gave."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scalings: tuple[float, float, float], *tensors: Tensor | None) -> Tensor:
        """x: [..., d] -> [..., d]; tensors: weight, bias, A and B of gate, up and down, in that order."""
        gate, up, down = (p.at(x.dtype) for p in _projections(tensors, scalings))
        rows = _rows(x)
        gated, upped = gate.forward(rows), up.forward(rows)
        ctx.save_for_backward(x, gated, upped, *tensors)
        ctx.scalings = scalings
        return down.forward(F.silu(gated).mul_(upped)).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, gated, upped, *tensors = ctx.saved_tensors
        gate, up, down = (p.at(x.dtype) for p in _projections(tensors, ctx.scalings))
        rows = _rows(x)
        opened = F.silu(gated)
        grad, down_a, down_b = down.backward(opened * upped, _rows(grads[0]).to(x.dtype))
        grad_x, up_a, up_b = up.backward(rows, opened.mul_(grad))
        through = torch.ops.aten.silu_backward(grad.mul_(upped), gated)
        more, gate_a, gate_b = gate.backward(rows, through)
        adapters = (None, None, gate_a, gate_b, None, None, up_a, up_b, None, None, down_a, down_b)
        return grad_x.add_(more).view(x.shape), None, *adapters


class RmsNorm(torch.autograd.Function):
    """``w * x / rms(x)`` with the root mean square in float32 (Zhang & Sennrich 2019, eq. 4); a gradient for x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """x: [..., d]; weight: [d]."""
        wide = x.float()
        scale = wide.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        unit = x.float() * scale
        grad = (grads[0] * weight).float()
        return grad.sub_(unit * (grad * unit).mean(-1, keepdim=True)).mul_(scale).to(x.dtype), None, None


class CausalAttention(torch.autograd.Function):
    """Softmax attention as plain products: half the time of torch's fused CPU kernel at these lengths.

    Keeps queries, keys and values, and computes the weights again. Queries are taken in blocks, each with the keys up
    to its end, so that the upper half of the matrix is mostly neither computed nor held. Query heads that share a key
    head are one long block, so that keys are never repeated.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """query: [rows, heads, tokens, width]; key, value: [rows, kv_heads, tokens, width] -> like query."""
        ctx.save_for_backward(query, key, value)
        ctx.scaling = scaling
        mixed = torch.empty_like(query)
        for block in _blocks(query):
            mine = _grouped(query[:, :, block], key)
            weights = _weights(mine, key[:, :, : block.stop], block.start, scaling)
            mixed[:, :, block] = (weights @ value[:, :, : block.stop]).view(query[:, :, block].shape)
        return mixed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for block in _blocks(query):
            keys, values = key[:, :, : block.stop], value[:, :, : block.stop]
            mine, grad = _grouped(query[:, :, block], key), _grouped(grads[0][:, :, block], key)
            weights = _weights(mine, keys, block.start, ctx.scaling)
            grad_value[:, :, : block.stop] += weights.transpose(-1, -2) @ grad
            along = grad @ values.transpose(-1, -2)
            scores = torch.ops.aten._softmax_backward_data(along, weights, -1, weights.dtype).mul_(ctx.scaling)
            grad_key[:, :, : block.stop] += scores.transpose(-1, -2) @ mine
            grad_query[:, :, block] = (scores @ keys).view(query[:, :, block].shape)
        return grad_query, grad_key, grad_value, None


def _blocks(query: Tensor) -> list[slice]:
    tokens = query.shape[2]
    return [slice(at, min(at + BLOCK, tokens)) for at in range(0, tokens, BLOCK)]


def _grouped(query: Tensor, key: Tensor) -> Tensor:
    """[rows, heads, tokens, width] -> [rows, kv_heads, heads / kv_heads * tokens, width]."""
    return query.reshape(query.shape[0], key.shape[1], -1, query.shape[-1])


def _weights(grouped: Tensor, key: Tensor, start: int, scaling: float) -> Tensor:
    """Causal attention weights of the queries from ``start`` on, [rows, kv_heads, heads / kv_heads * queries, keys]."""
    keys = key.shape[2]
    scores = (grouped @ key.transpose(-1, -2)).mul_(scaling)
    future = torch.full((keys - start, keys), -torch.inf, dtype=scores.dtype, device=scores.device).triu_(start + 1)
    scores.view(*scores.shape[:2], -1, keys - start, keys).add_(future)
    return torch.softmax(scores, -1)


def _rows(x: Tensor) -> Tensor:
    """[..., d] -> [n, d]."""
    return x.reshape(-1, x.shape[-1])


def _projections(tensors: Any, scalings: tuple[float, float, float]) -> list[Projection]:
    weights, biases, a, b = (tensors[n::4] for n in range(4))
    return [Projection(*parts) for parts in zip(weights, biases, a, b, scalings, strict=True)]
