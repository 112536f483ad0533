"""Faster, leaner forms of what a trained decoder layer does; the same numbers up to rounding.

Each is one autograd function that keeps the few tensors which are dear to compute again (the inputs of the
products, and what the products gave) and computes the cheap ones (activations, norms, softmax) a second time in the
backward pass. Frozen weights are cast when they are used; autograd casts the adapters' gradients back to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


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


class Fan:
    """Projections that read the same input, so that their A's are one product: R is the sum of their ranks."""

    def __init__(self, projections: Sequence[Projection], dtype: torch.dtype) -> None:
        self._all = [p.at(dtype) for p in projections]
        self._ranks = [len(p.a) for p in projections]
        self._a = self._all[0].a if len(self._all) == 1 else torch.cat([p.a for p in self._all])  # [R, in]

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x: [n, in] -> what the A's give, [n, R], which the backward pass asks for; and each y, [n, out]."""
        inner = x @ self._a.T
        each = zip(self._all, torch.split(inner, self._ranks, 1), strict=True)
        return inner, [F.linear(x, p.weight, p.bias).addmm_(u, p.b.T, alpha=p.scaling) for p, u in each]

    def backward(self, x: Tensor, inner: Tensor, grads: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Gradients of x [n, in], and of A and B of each projection, from those of each y [n, out]."""
        back = torch.cat([(g @ p.b).mul_(p.scaling) for p, g in zip(self._all, grads, strict=True)], 1)  # [n, R]
        grad_x = grads[0] @ self._all[0].weight
        for p, g in zip(self._all[1:], grads[1:], strict=True):
            grad_x.addmm_(g, p.weight)
        grad_a = torch.split(back.T @ x, self._ranks)
        parts = zip(self._all, grads, torch.split(inner, self._ranks, 1), strict=True)
        grad_b = [(g.T @ u).mul_(p.scaling) for p, g, u in parts]
        return grad_x.addmm_(back, self._a), [t for pair in zip(grad_a, grad_b, strict=True) for t in pair]


class LoraLinear(torch.autograd.Function):
    """A :class:`Projection`; gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """x: [..., in] -> [..., out]."""
        inner, (y,) = Fan([Projection(weight, bias, a, b, scaling)], x.dtype).forward(rows_of(x))
        ctx.save_for_backward(x, inner, weight, a, b)
        ctx.scaling = scaling
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, weight, a, b = ctx.saved_tensors
        fan = Fan([Projection(weight, None, a, b, ctx.scaling)], x.dtype)
        grad_x, (grad_a, grad_b) = fan.backward(rows_of(x), inner, [rows_of(grads[0]).to(x.dtype)])
        return grad_x.view(x.shape), None, None, grad_a, grad_b, None


class Norm(NamedTuple):
    """``w * x / rms(x)`` with the root mean square in float32 (Zhang & Sennrich 2019, eq. 4); w [d] is frozen."""

    weight: Tensor
    epsilon: float

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: [n, d] -> the same shape, and ``1 / rms(x)``, [n, 1], which the backward pass asks for."""
        wide = x.float()
        scale = wide.square().mean(-1, keepdim=True).add_(self.epsilon).rsqrt_()
        return self.again(x, scale), scale

    def again(self, x: Tensor, scale: Tensor) -> Tensor:
        """What :meth:`forward` gave."""
        return (x.float() * scale).to(x.dtype).mul_(self.weight)

    def backward(self, x: Tensor, scale: Tensor, grad: Tensor) -> Tensor:
        """The gradient of x, from that of y."""
        unit = x.float() * scale
        wide = (grad * self.weight).float()
        return wide.sub_(unit * (wide * unit).mean(-1, keepdim=True)).mul_(scale).to(x.dtype)


class GatedMlp(torch.autograd.Function):
    """``down(silu(gate(n)) * up(n))``, n being the norm of x; gradients for x and the adapters.

    Keeps x and what gate and up gave.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Norm, scalings: tuple[float, ...], *tensors: Tensor | None) -> Tensor:
        """x: [..., d] -> [..., d]; tensors: weight, bias, A and B of gate, up and down, in that order."""
        *wide, down = projections(tensors, scalings)
        normed, scale = norm.forward(rows_of(x))
        inner, (gated, upped) = Fan(wide, x.dtype).forward(normed)
        narrow, (y,) = Fan([down], x.dtype).forward(F.silu(gated).mul_(upped))
        ctx.save_for_backward(x, scale, inner, gated, upped, narrow, *tensors)
        ctx.norm, ctx.scalings = norm, scalings
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, inner, gated, upped, narrow, *tensors = ctx.saved_tensors
        *wide, down = projections(tensors, ctx.scalings)
        opened = F.silu(gated)
        grad, of_down = Fan([down], x.dtype).backward(opened * upped, narrow, [rows_of(grads[0]).to(x.dtype)])
        of_gate = torch.ops.aten.silu_backward(grad * upped, gated)
        normed = ctx.norm.again(rows_of(x), scale)
        grad, of_wide = Fan(wide, x.dtype).backward(normed, inner, [of_gate, opened.mul_(grad)])
        grad_x = ctx.norm.backward(rows_of(x), scale, grad)
        return grad_x.view(x.shape), None, None, *adapters_only([*of_wide, *of_down])


def rows_of(x: Tensor) -> Tensor:
    """[..., d] -> [n, d]."""
    return x.reshape(-1, x.shape[-1])


def projections(tensors: Sequence[Any], scalings: Sequence[float]) -> list[Projection]:
    """From a flat list of weight, bias, A and B, projection after projection."""
    weights, biases, a, b = (tensors[n::4] for n in range(4))
    return [Projection(*parts) for parts in zip(weights, biases, a, b, scalings, strict=True)]


def adapters_only(grads: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of A and B, projection after projection, with None for the frozen weight and bias before each pair."""
    return [t for a, b in zip(grads[::2], grads[1::2], strict=True) for t in (None, None, a, b)]
