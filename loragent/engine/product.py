"""The base's frozen linear layers: ``y = x W^T + bias``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
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
        """x: [n, in], y: [n, out] -> y plus what :meth:`__call__` gives; y may be written over."""
        ...


class Dense:
    """In the weight's own dtype; the weight is shared, not copied.

    Args:
        weight: [out, in].
        onednn: multiply with oneDNN, which is twice as fast in float32 as MKL on some CPUs (docs/adr/0009).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, onednn: bool = False) -> None:
        self._weight, self._bias, self._onednn = weight, bias, onednn

    def __call__(self, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        if self._onednn:
            return _onednn()(x, self._weight, self._bias, "none", [], "")  # type: ignore[no-any-return]
        return F.linear(x, self._weight, self._bias)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """See :class:`Product`."""
        if self._onednn:
            return _onednn().binary(x, y, self._weight, self._bias, "add")  # type: ignore[no-any-return]
        if self._bias is not None:
            y += self._bias
        return y.addmm_(x, self._weight.T)  # in place: else y is copied first, on a GPU by a kernel of its own


@lru_cache(maxsize=1)
def _onednn() -> Any:
    return torch.ops.mkldnn._linear_pointwise


def has_onednn() -> bool:
    """Whether this torch multiplies with oneDNN when asked to."""
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def stacked(layers: Sequence[Any]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of linear layers that read the same input, one above the other."""
    if len(layers) == 1:
        return layers[0].weight, layers[0].bias
    biased = all(layer.bias is not None for layer in layers)
    return torch.cat([m.weight for m in layers]), torch.cat([m.bias for m in layers]) if biased else None
