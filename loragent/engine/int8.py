"""The base's frozen linear layers with weights in 8 bits."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

FEW = 4  # rows: so many are multiplied faster in bfloat16 than they are brought to 8 bits


class Int8:
    """Weights in 8 bits, a scale a channel.

    A few rows are multiplied as they are, in bfloat16. More are brought to 8 bits, a scale a token, on the way in:
    ``y = (q_x q_W^T) * s_x s_W`` with integer sums (Dettmers et al. 2022, arXiv 2208.07339, eq. 5, without outliers).

    Args:
        weight: [out, in].
        twice: quantise what the first 8 bits of an activation leave as well: 16 bits for the price of a batch twice as
            long. For layers whose inputs have outliers (down), which one scale a token ruins.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, twice: bool = False) -> None:
        wide = weight.detach().float()
        self._scale = (wide.abs().amax(1).clamp_(min=1e-12) / 127).bfloat16()  # [out]
        scale = self._scale.float()
        self._weight = (wide / scale[:, None]).round_().clamp_(-127, 127).to(torch.int8)  # [out, in]
        self._sums: Sums = PackedSums(self._weight, scale) if can_pack() else PlainSums(self._weight, scale)
        self._bias = None if bias is None else bias.detach().float()
        self._twice = twice

    def __call__(self, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        y = self._few(x).float() if len(x) <= FEW else self._many(x)
        return y if self._bias is None else y.add_(self._bias)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """See :class:`Product`."""
        if self._bias is not None:
            y = y + self._bias
        return y + (self._few(x) if len(x) <= FEW else self._many(x))

    def _few(self, x: Tensor) -> Tensor:
        return torch._weight_int8pack_mm(x.bfloat16(), self._weight, self._scale)

    def _many(self, x: Tensor) -> Tensor:
        largest = x.abs().amax(-1, keepdim=True)  # [n, 1]; where it is 0 the sums are finite and count for nothing
        if not self._twice:
            return self._sums.once(x, largest).mul_(largest)
        high, low = self._sums.twice(x, largest).chunk(2)
        return high.add_(low, alpha=1 / REST).mul_(largest)


REST = 254  # what the first 8 bits leave is within half a step either way, and gets so many steps


class Sums(Protocol):
    """Products of activations in 8 bits with weights: [n, out], to be multiplied with each token's largest value."""

    def once(self, x: Tensor, largest: Tensor) -> Tensor:
        """x: [n, in]; largest: [n, 1] -> [n, out]."""
        ...

    def twice(self, x: Tensor, largest: Tensor) -> Tensor:
        """x: [n, in]; largest: [n, 1] -> [2 n, out], of the first 8 bits and ``REST`` times of what they leave."""
        ...


class PackedSums:
    """oneDNN's product, of weights that lie as it wants them; its activations are unsigned, 128 being zero.

    Args:
        weight: [out, in], 8 bits; scale: [out].
    """

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        self._packed = torch.ops.onednn.qlinear_prepack(weight, None)
        self._scale, self._zeros = scale / 127, torch.zeros(len(scale), dtype=torch.int32)
        self._middle, self._rest = torch.tensor(128.5), torch.tensor(128.5 - REST / 2)  # .5: a cast cuts off

    def once(self, x: Tensor, largest: Tensor) -> Tensor:
        """See :class:`Sums`."""
        return self._product(torch.addcdiv(self._middle, x, largest, value=127).to(torch.uint8))

    def twice(self, x: Tensor, largest: Tensor) -> Tensor:
        """See :class:`Sums`."""
        wide = torch.addcdiv(self._middle, x, largest, value=127)
        first = wide.to(torch.uint8)
        rest = torch.add(self._rest, wide.sub_(first), alpha=REST).to(torch.uint8)
        return self._product(torch.cat([first, rest]))

    def _product(self, codes: Tensor) -> Tensor:
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            codes, 1.0, 128, self._packed, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return found


class PlainSums:
    """The same in float32, where oneDNN's product is not to be had: ten times as fast there as torch's own of integers.

    Args:
        weight: [out, in], 8 bits; scale: [out].
    """

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        self._weight, self._scale = weight, scale / 127

    def once(self, x: Tensor, largest: Tensor) -> Tensor:
        """See :class:`Sums`."""
        return self._product(self._steps(x, largest).round_())

    def twice(self, x: Tensor, largest: Tensor) -> Tensor:
        """See :class:`Sums`."""
        wide = self._steps(x, largest)
        first = wide.round()
        rest = wide.sub_(first).mul_(REST).round_()
        return self._product(torch.cat([first, rest]))

    def _steps(self, x: Tensor, largest: Tensor) -> Tensor:
        return (x / largest.clamp(min=1e-30)).mul_(127)

    def _product(self, codes: Tensor) -> Tensor:
        return F.linear(codes, self._weight.float()).mul_(self._scale)


@lru_cache(maxsize=1)
def can_pack() -> bool:
    """Whether oneDNN's 8-bit product is there, in hardware, and right."""
    if not torch.cpu._is_vnni_supported():  # it adds in 16 bits without, which overflow
        return False
    random = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (48, 80), generator=random, dtype=torch.int8)
    x, scale = torch.randn(8, 80, generator=random), torch.rand(48, generator=random)
    largest = x.abs().amax(-1, keepdim=True)
    try:
        found, wanted = (sums(weight, scale).once(x, largest) for sums in (PackedSums, PlainSums))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((found - wanted).norm() < 0.02 * wanted.norm())
