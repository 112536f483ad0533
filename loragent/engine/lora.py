"""The maths of mixed stacks: one matrix pair a fan of layers for the whole batch, whatever its rows carry.

For the distinct plugins of a batch, their A's and B's are concatenated along the rank axis, and

    y = W x + ((x A_cat^T) * M) B_cat                                       (mask-GEMM)

where row i of M holds ``scale * alpha / r`` over the rank columns of each plugin on row i, and 0
elsewhere. A stack of several plugins is several non-zero blocks in one row, and mixed ranks need no
padding. A base row adds exact zeros, so it is bit-identical to a base-only batch of the same shape.
Layers that read the same input (q, k and v; gate and up) are a fan: their A's are one product.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..plugin import LoraWeights

Fan = tuple[str, ...]  # paths of linear layers that read the same input


@dataclass(frozen=True, slots=True)
class Update:
    """What the plugins of a batch add to a fan.

    Attributes:
        a: [in, R], R being the sum of ranks of the batch's distinct plugins over the fan's layers.
        mask: [rows, 1, R].
        parts: of each layer of the fan, which columns of R are its own, and its B, [columns, out].
    """

    a: Tensor
    mask: Tensor
    parts: tuple[tuple[slice, Tensor], ...]

    def add_to(self, outputs: Sequence[Tensor], x: Tensor) -> None:
        """x: [rows * tokens, in]; outputs: [rows * tokens, out] of each layer, changed in place."""
        inner = x @ self.a
        rows = len(self.mask)
        inner.view(rows, -1, inner.shape[-1]).mul_(self.mask)
        for y, (columns, b) in zip(outputs, self.parts, strict=True):
            if len(b):
                y.addmm_(inner[:, columns], b)


@dataclass(frozen=True, slots=True)
class RowUpdate:
    """The same, gathered row by row, for batches whose rows have little in common.

    Attributes:
        a: [rows, in, R], R being the largest sum of ranks of one row over the fan's layers; scaled as M is.
        parts: of each layer of the fan, which columns of R are its own, and its B, [rows, columns, out].
    """

    a: Tensor
    parts: tuple[tuple[slice, Tensor], ...]

    def add_to(self, outputs: Sequence[Tensor], x: Tensor) -> None:
        """x: [rows * tokens, in]; outputs: [rows * tokens, out] of each layer, changed in place."""
        rows = len(self.a)
        inner = torch.bmm(x.view(rows, -1, x.shape[1]), self.a)
        for y, (columns, b) in zip(outputs, self.parts, strict=True):
            if b.shape[1]:
                y.view(rows, -1, y.shape[1]).baddbmm_(inner[:, :, columns], b)


Plan = dict[Fan, Update | RowUpdate]  # a fan that no plugin touches is absent


@dataclass(frozen=True, slots=True)
class Mount:
    """A resident plugin on a row: its identity, weights on the device, scale, and the token from which it applies."""

    key: str
    weights: LoraWeights
    scale: float
    start: int = 0


Stack = tuple[Mount, ...]


@dataclass(frozen=True, slots=True)
class _Joined:
    """An update without its mask, and the blocks (plugin, rank, alpha / r) along R."""

    a: Tensor
    parts: tuple[tuple[slice, Tensor], ...]
    blocks: tuple[tuple[str, int, float], ...]


class Planner:
    """Builds plans, and keeps the latest: concatenating is due only when the batch's plugins change.

    Args:
        fans: the base's linear layers, those that read the same input together.
        out: output features of each layer, by path.
    """

    def __init__(self, fans: Sequence[Fan], keep: int = 8) -> None:
        self._fans, self._keep = fans, keep
        self._joined: OrderedDict[tuple[str, ...], dict[Fan, _Joined]] = OrderedDict()
        self._plans: OrderedDict[tuple[tuple[tuple[str, float], ...], ...], Plan] = OrderedDict()

    def plan(self, stacks: Sequence[Stack]) -> Plan:
        """The plan for a batch whose row i carries ``stacks[i]``."""
        key = tuple(tuple((m.key, m.scale) for m in stack) for stack in stacks)
        if key not in self._plans:
            self._plans[key] = self._build(stacks)
            _trim(self._plans, self._keep)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _build(self, stacks: Sequence[Stack]) -> Plan:
        distinct = {m.key: m for stack in stacks for m in stack}
        if not distinct:
            return {}
        if self._by_row(stacks, list(distinct.values())):
            touched = {name for m in distinct.values() for name in m.weights.pairs}
            _trim(self._plans, 1)  # a plan row by row is a copy of all that it uses: two must do
            return {fan: _gather(fan, stacks) for fan in self._fans if not touched.isdisjoint(fan)}
        joined = self._join([distinct[key] for key in sorted(distinct)])
        masks: dict[tuple[tuple[str, int, float], ...], Tensor] = {}
        plan: Plan = {}
        for fan, found in joined.items():
            if found.blocks not in masks:  # most layers are touched alike
                rows = [_mask_row(stack, found.blocks) for stack in stacks]
                masks[found.blocks] = torch.tensor(rows, dtype=found.a.dtype, device=found.a.device).unsqueeze(1)
            plan[fan] = Update(found.a, masks[found.blocks], found.parts)
        return plan

    def _by_row(self, stacks: Sequence[Stack], distinct: Sequence[Mount]) -> bool:
        """Whether products row by row are the faster: measured in float32 on a CPU (docs/adr/0009)."""
        weights = distinct[0].weights
        like = next(iter(weights.pairs.values())).a
        if like.dtype != torch.float32 or like.device.type != "cpu":
            return False
        whole = sum(m.weights.rank for m in distinct)
        widest = max(sum(m.weights.rank for m in stack) for stack in stacks)
        return whole >= 64 and widest * len(stacks) <= 1.5 * whole

    def _join(self, mounts: Sequence[Mount]) -> dict[Fan, _Joined]:
        key = tuple(m.key for m in mounts)
        if key not in self._joined:
            touched = {name for m in mounts for name in m.weights.pairs}
            self._joined[key] = {fan: _concatenate(fan, mounts) for fan in self._fans if not touched.isdisjoint(fan)}
            _trim(self._joined, self._keep)
        self._joined.move_to_end(key)
        return self._joined[key]


def _concatenate(fan: Fan, mounts: Sequence[Mount]) -> _Joined:
    a, parts, blocks, at = [], [], [], 0
    for name in fan:
        pairs = [(m.key, m.weights.pairs[name]) for m in mounts if name in m.weights.pairs]
        a += [pair.a for _, pair in pairs]
        blocks += [(key, pair.a.shape[0], pair.scaling) for key, pair in pairs]
        end = at + sum(len(pair.a) for _, pair in pairs)
        b = torch.cat([pair.b.T for _, pair in pairs]).contiguous() if pairs else torch.empty(0, 0)
        parts.append((slice(at, end), b))
        at = end
    return _Joined(torch.cat(a).T.contiguous(), tuple(parts), tuple(blocks))


def _gather(fan: Fan, stacks: Sequence[Stack]) -> RowUpdate:
    """Each row's matrices side by side, padded with zeros to the widest row's."""
    a_parts, parts, at = [], [], 0
    for name in fan:
        rows = [[(m.weights.pairs[name], m.scale) for m in stack if name in m.weights.pairs] for stack in stacks]
        like = next((pair for row in rows for pair, _ in row), None)
        width = max(sum(len(pair.a) for pair, _ in row) for row in rows)
        if like is None:
            parts.append((slice(at, at), torch.empty(len(stacks), 0, 0)))
            continue
        a = like.a.new_zeros(len(stacks), like.a.shape[1], width)
        b = like.b.new_zeros(len(stacks), width, like.b.shape[0])
        for i, row in enumerate(rows):
            start = 0
            for pair, scale in row:
                end = start + len(pair.a)
                a[i, :, start:end] = pair.a.T * (scale * pair.scaling)
                b[i, start:end] = pair.b.T
                start = end
        a_parts.append(a)
        parts.append((slice(at, at + width), b))
        at += width
    return RowUpdate(torch.cat(a_parts, 2) if len(a_parts) > 1 else a_parts[0], tuple(parts))


def _mask_row(stack: Stack, blocks: Sequence[tuple[str, int, float]]) -> list[float]:
    scales: dict[str, float] = {}
    for mount in stack:  # the same plugin twice on a row adds up, as the sum of its updates does
        scales[mount.key] = scales.get(mount.key, 0.0) + mount.scale
    return [scales.get(key, 0.0) * scaling for key, rank, scaling in blocks for _ in range(rank)]


def _trim(kept: OrderedDict[Any, Any], limit: int) -> None:
    while len(kept) > limit:
        kept.popitem(last=False)
