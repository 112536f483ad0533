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

Spans = tuple[slice, ...]  # which tokens of a batch are whose, where several plugins are trained in one pass
EVERYONE: Spans = (slice(None),)


class Adapter(NamedTuple):
    """``s (x A^T) B^T`` of one plugin; a: [r, in]; b: [out, r]."""

    a: Tensor
    b: Tensor
    scaling: float


class Projection(NamedTuple):
    """A frozen linear layer and its adapters: ``y = x W^T + bias + s (x A^T) B^T``, each adapter on its own tokens.

    weight: [out, in]; bias: [out] or None; adapters: one a span.
    """

    weight: Tensor
    bias: Tensor | None
    adapters: tuple[Adapter, ...]

    def at(self, dtype: torch.dtype) -> Projection:
        """The same in the dtype that is computed in."""
        bias = None if self.bias is None else self.bias.to(dtype)
        adapters = tuple(Adapter(p.a.to(dtype), p.b.to(dtype), p.scaling) for p in self.adapters)
        return Projection(self.weight.to(dtype), bias, adapters)


class Fan:
    """Projections that read the same input, so that a plugin's A's are one product: R is the sum of their ranks."""

    def __init__(self, projections: Sequence[Projection], dtype: torch.dtype, spans: Spans) -> None:
        self._all = [p.at(dtype) for p in projections]
        self._plugins = list(zip(spans, zip(*(p.adapters for p in self._all), strict=True), strict=True))

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """x: [n, in] -> what each plugin's A's give, [its n, R], for the backward pass; and each y, [n, out]."""
        ys, inners = [F.linear(x, p.weight, p.bias) for p in self._all], []
        for span, adapters in self._plugins:
            inners.append(x[span] @ _stacked(adapters).T)
            for y, p, u in zip(ys, adapters, _split_ranks(inners[-1], adapters, 1), strict=True):
                y[span].addmm_(u, p.b.T, alpha=p.scaling)
        return inners, ys

    def backward(
        self, x: Tensor, inners: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Gradients of x [n, in], and of the tensors of each projection, from those of each y [n, out]."""
        grad_x = grads[0] @ self._all[0].weight
        for p, g in zip(self._all[1:], grads[1:], strict=True):
            grad_x.addmm_(g, p.weight)
        of_adapters: list[list[Tensor | None]] = [[None, None] for _ in self._all]
        for (span, adapters), inner in zip(self._plugins, inners, strict=True):
            mine = [g[span] for g in grads]
            back = torch.cat([(g @ p.b).mul_(p.scaling) for p, g in zip(adapters, mine, strict=True)], 1)  # [its n, R]
            grad_x[span].addmm_(back, _stacked(adapters))
            of_a = _split_ranks(back.T @ x[span], adapters, 0)
            for found, p, g, u, grad_a in zip(
                of_adapters, adapters, mine, _split_ranks(inner, adapters, 1), of_a, strict=True
            ):
                found += [grad_a, (g.T @ u).mul_(p.scaling)]
        return grad_x, [t for found in of_adapters for t in found]


def _stacked(adapters: Sequence[Adapter]) -> Tensor:
    """Their A's, [R, in]."""
    return adapters[0].a if len(adapters) == 1 else torch.cat([p.a for p in adapters])


def _split_ranks(x: Tensor, adapters: Sequence[Adapter], dim: int) -> Sequence[Tensor]:
    return torch.split(x, [len(p.a) for p in adapters], dim)


class LoraLinear(torch.autograd.Function):
    """A :class:`Projection` with one adapter; gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """x: [..., in] -> [..., out]."""
        fan = Fan([Projection(weight, bias, (Adapter(a, b, scaling),))], x.dtype, EVERYONE)
        (inner,), (y,) = fan.forward(rows_of(x))
        ctx.save_for_backward(x, inner, weight, a, b)
        ctx.scaling = scaling
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, weight, a, b = ctx.saved_tensors
        fan = Fan([Projection(weight, None, (Adapter(a, b, ctx.scaling),))], x.dtype, EVERYONE)
        grad_x, of_tensors = fan.backward(rows_of(x), [inner], [rows_of(grads[0]).to(x.dtype)])
        return grad_x.view(x.shape), *of_tensors, None


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
    def forward(ctx: Any, x: Tensor, norm: Norm, adapted: Adapted, *tensors: Tensor | None) -> Tensor:
        """x: [..., d] -> [..., d]; tensors: those of gate, up and down, in that order."""
        *wide, down = adapted.projections(tensors)
        normed, scale = norm.forward(rows_of(x))
        inner, (gated, upped) = Fan(wide, x.dtype, adapted.spans).forward(normed)
        narrow, (y,) = Fan([down], x.dtype, adapted.spans).forward(F.silu(gated).mul_(upped))
        ctx.save_for_backward(x, scale, gated, upped, *inner, *narrow, *tensors)
        ctx.norm, ctx.adapted = norm, adapted
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        adapted: Adapted = ctx.adapted
        x, scale, gated, upped, *others = ctx.saved_tensors
        inner, narrow, tensors = adapted.unpack(others)
        *wide, down = adapted.projections(tensors)
        opened, spans = F.silu(gated), adapted.spans
        towards = [rows_of(grads[0]).to(x.dtype)]
        grad, of_down = Fan([down], x.dtype, spans).backward(opened * upped, narrow, towards)
        of_gate = torch.ops.aten.silu_backward(grad * upped, gated)
        normed = ctx.norm.again(rows_of(x), scale)
        grad, of_wide = Fan(wide, x.dtype, spans).backward(normed, inner, [of_gate, opened.mul_(grad)])
        grad_x = ctx.norm.backward(rows_of(x), scale, grad)
        return grad_x.view(x.shape), None, None, *of_wide, *of_down


class Adapted(NamedTuple):
    """Which plugins' adapters a half of a layer has; their tensors travel apart, as autograd wants them.

    scalings: of each projection, one a plugin; spans: each plugin's tokens.
    """

    scalings: tuple[tuple[float, ...], ...]
    spans: Spans

    def projections(self, tensors: Sequence[Any]) -> list[Projection]:
        """From a flat list, projection after projection: weight, bias, and of each plugin A and B."""
        found, size = [], 2 + 2 * len(self.spans)
        for n, scalings in enumerate(self.scalings):
            weight, bias, *sides = tensors[n * size : (n + 1) * size]
            adapters = tuple(Adapter(*parts) for parts in zip(sides[::2], sides[1::2], scalings, strict=True))
            found.append(Projection(weight, bias, adapters))
        return found

    def unpack(self, saved: Sequence[Any]) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Any]]:
        """What the A's of the first and the last products gave, one a plugin, and the tensors."""
        count = len(self.spans)
        return saved[:count], saved[count : 2 * count], saved[2 * count :]


def rows_of(x: Tensor) -> Tensor:
    """[..., d] -> [n, d]."""
    return x.reshape(-1, x.shape[-1])
