"""The base's frozen linear layers: ``y = x W^T + bias``, in full precision or with 8-bit integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Product(Protocol):
    """A frozen linear layer."""

    def __call__(self, x: Tensor) -> Tensor:
        """x: [n, in] -> [n, out]."""
        ...

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x: [n, in], y: [n, out] -> y plus what :meth:`__call__` gives."""
        ...


class Dense:
    """In the weight's own dtype; the weight is shared, not copied."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        return F.linear(x, self._weight, self._bias)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """See :class:`Product`."""
        if self._bias is not None:
            y = y + self._bias
        return torch.addmm(y, x, self._weight.T)


def stacked(layers: Sequence[Any]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of linear layers that read the same input, one above the other."""
    if len(layers) == 1:
        return layers[0].weight, layers[0].bias
    biased = all(layer.bias is not None for layer in layers)
    return torch.cat([m.weight for m in layers]), torch.cat([m.bias for m in layers]) if biased else None


class Int8:
    """Weights in 8 bits, a scale a channel; activations in 8 bits, a scale a token, quantised on the way in.

    ``y = (q_x q_W^T) * s_x s_W`` with integer sums (Dettmers et al. 2022, arXiv 2208.07339, eq. 5, without outliers).

    Args:
        weight: [out, in].
        twice: quantise what the first 8 bits of an activation leave as well: 16 bits for the price of a batch twice as
            long. For layers whose inputs have outliers (down), which one scale a token ruins.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, twice: bool = False) -> None:
        wide = weight.detach().float()
        self._scale = wide.abs().amax(1).clamp_(min=1e-12).div_(127)  # [out]
        self._weight = (wide / self._scale[:, None]).round_().to(torch.int8)  # [out, in]
        self._bias = None if bias is None else bias.detach().float()
        self._twice = twice

    def __call__(self, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        y = self._unscaled(x).mul_(self._scale)
        return y if self._bias is None else y.add_(self._bias)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """See :class:`Product`."""
        if self._bias is not None:
            y = y + self._bias
        return torch.addcmul(y, self._unscaled(x), self._scale)

    def _unscaled(self, x: Tensor) -> Tensor:
        """[n, in] -> float32 [n, out], without the channels' scales."""
        steps = x.abs().amax(-1, keepdim=True).clamp_(min=1e-12).div_(127)  # [n, 1]
        scaled = x / steps
        first = scaled.round()
        if not self._twice:
            return torch._int_mm(first.to(torch.int8), self._weight.T) * steps
        rest = scaled.sub_(first).mul_(254).round_()  # within half a step either way
        both = torch._int_mm(torch.cat([first, rest]).to(torch.int8), self._weight.T).float()
        high, low = both.chunk(2)
        return high.add_(low, alpha=1 / 254).mul_(steps)
