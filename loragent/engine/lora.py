"""The maths of mixed stacks: what the plugins of a batch add to its linear layers, in three forms.

For the distinct plugins of a batch, their A's and B's lie side by side along the rank axis, and

    y = W x + ((x A_cat^T) * M) B_cat                                       (mask-GEMM)

where row i of M holds the scale of each plugin on row i over its rank columns, and 0 elsewhere. A stack of several
plugins is several non-zero blocks in one row, and mixed ranks are padded with zeros. Where it is faster each row has
its own matrices in one batched product, or rows that lie side by side under one stack are multiplied with the
plugins' own matrices. A base row adds exact zeros, or nothing, so it is bit-identical to a base-only batch of the
same shape. Layers that read the same input (q, k and v; gate and up) are a fan: their A's are one product.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..plugin import LoraPair, LoraWeights
from .gpu import add_stacks, fuses

Fan = tuple[str, ...]  # paths of linear layers that read the same input
Parts = tuple[tuple[slice, Tensor], ...]  # of each layer of a fan: which columns are its own, and its B


@dataclass(frozen=True, slots=True)
class Delta:
    """What one plugin adds to a fan.

    Attributes:
        a: [r, in], r being the sum of its ranks over the fan's layers.
        parts: B [columns, out], times alpha / rank; of a layer that it does not touch, no columns.
    """

    a: Tensor
    parts: Parts

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each layer."""
        return tuple(columns.stop - columns.start for columns, _ in self.parts)


class Resident:
    """A plugin's weights on the device, fan by fan.

    Attributes:
        deltas: by fan; one that it does not touch is absent.
        floor: the lowest layer that it touches.
        rank: the largest of its ranks.
        nbytes: bytes in memory.
    """

    def __init__(self, deltas: Mapping[Fan, Delta], floor: int) -> None:
        self.deltas, self.floor = deltas, floor
        self.rank = max((width for delta in deltas.values() for width in delta.widths), default=0)
        self.nbytes = sum(d.a.nbytes + sum(b.nbytes for _, b in d.parts) for d in deltas.values())


def arrange(
    weights: LoraWeights, fans: Sequence[Fan], level: Callable[[str], int], device: torch.device, dtype: torch.dtype
) -> Resident:
    """Weights in the form that the engine multiplies with.

    Args:
        level: which layer of the decoder a linear layer is in.
    """
    deltas = {}
    for fan in fans:
        pairs = [weights.pairs.get(name) for name in fan]
        if any(pair is not None for pair in pairs):
            deltas[fan] = _delta(pairs, torch.empty(0, device=device, dtype=dtype))
    return Resident(deltas, min(map(level, weights.pairs), default=0))


def _delta(pairs: Sequence[LoraPair | None], like: Tensor) -> Delta:
    a = torch.cat([pair.a for pair in pairs if pair is not None]).to(like)
    parts, at = [], 0
    for pair in pairs:
        end = at
        b = like.new_empty(0, 0)
        if pair is not None:
            end = at + len(pair.a)
            b = like.new_empty(len(pair.a), len(pair.b))
            b.copy_(pair.b.T).mul_(pair.scaling)
        parts.append((slice(at, end), b))
        at = end
    return Delta(a, tuple(parts))


@dataclass(frozen=True, slots=True)
class Mount:
    """A resident plugin on a row: its identity, weights, scale, and the token from which it applies."""

    key: str
    weights: Resident
    scale: float
    start: int = 0


Stack = tuple[Mount, ...]


def named(stack: Stack) -> list[tuple[str, float]]:
    """What tells two stacks apart once they apply."""
    return [(mount.key, mount.scale) for mount in stack]


class Update(Protocol):
    """What a batch's plugins add to a fan.

    Attributes:
        address: the same as long as its matrices lie where they lie and are multiplied alike; they may be written over.
    """

    @property
    def address(self) -> Hashable:
        """See above."""
        ...

    def add_to(self, outputs: Sequence[Tensor], x: Tensor) -> None:
        """x: [rows * tokens, in]; outputs: [rows * tokens, out] of each layer, changed in place."""
        ...


Plan = Mapping[Fan, Update]  # a fan that no plugin touches is absent


@dataclass(frozen=True, slots=True)
class Masked:
    """The mask-GEMM.

    Attributes:
        a: [R, in], of all distinct plugins, the rows of the fan's first layer first.
        mask: [rows, 1, R], the scales.
        parts: B [columns, out] of all plugins.
    """

    a: Tensor
    mask: Tensor
    parts: Parts

    @property
    def address(self) -> Hashable:
        """See :class:`Update`."""
        return _where(self.a, self.mask, *(b for _, b in self.parts))

    def add_to(self, outputs: Sequence[Tensor], x: Tensor) -> None:
        """See :class:`Update`."""
        inner = x @ self.a.T
        rows = len(self.mask)
        inner.view(rows, -1, inner.shape[-1]).mul_(self.mask)
        for y, (columns, b) in zip(outputs, self.parts, strict=True):
            if len(b):
                y.addmm_(inner[:, columns], b)


@dataclass(frozen=True, slots=True)
class ByRow:
    """Each row's own matrices, in one batched product.

    Attributes:
        a: [rows, R, in], scales included.
        parts: B [rows, columns, out].
    """

    a: Tensor
    parts: Parts

    @property
    def address(self) -> Hashable:
        """See :class:`Update`."""
        return _where(self.a, *(b for _, b in self.parts))

    def add_to(self, outputs: Sequence[Tensor], x: Tensor) -> None:
        """See :class:`Update`."""
        rows = len(self.a)
        if len(x) == rows and fuses(x):
            add_stacks(outputs, x, self.a, [b for _, b in self.parts])
            return
        inner = torch.bmm(x.view(rows, -1, x.shape[1]), self.a.transpose(1, 2))
        for y, (columns, b) in zip(outputs, self.parts, strict=True):
            if b.shape[1]:
                y.view(rows, -1, y.shape[1]).baddbmm_(inner[:, :, columns], b)


@dataclass(frozen=True, slots=True)
class ByRun:
    """Runs of rows that lie side by side under one stack, each with the plugins' own matrices: nothing is copied.

    Attributes:
        rows: of the batch.
        runs: the first row, the one behind the last, and what is added to them, with scales.
    """

    rows: int
    runs: tuple[tuple[int, int, tuple[tuple[float, Delta], ...]], ...]

    @property
    def address(self) -> Hashable:
        """See :class:`Update`."""
        return tuple(
            (first, end, scale, _where(delta.a, *(b for _, b in delta.parts)))
            for first, end, deltas in self.runs
            for scale, delta in deltas
        )

    def add_to(self, outputs: Sequence[Tensor], x: Tensor) -> None:
        """See :class:`Update`."""
        tokens = len(x) // self.rows
        for first, end, deltas in self.runs:
            part = slice(first * tokens, end * tokens)
            for scale, delta in deltas:
                inner = x[part] @ delta.a.T
                for y, (columns, b) in zip(outputs, delta.parts, strict=True):
                    if len(b):
                        y[part].addmm_(inner[:, columns], b, alpha=scale)


def _where(*tensors: Tensor) -> Hashable:
    return tuple((tensor.data_ptr(), *tensor.shape) for tensor in tensors)
