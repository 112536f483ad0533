"""The side-by-side matrices of a batch, kept from step to step: who joins costs a copy of its own plugins alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..plugin import Shapes
from .lora import ByRow, Delta, Fan, Masked, Parts, Plan, Stack, named

Widths = tuple[int, ...]  # columns of each layer of a fan
PLACES = 4  # slabs grow by so many rows or plugins: more would be multiplied in vain, fewer copied too often


class RowSlabs:
    """For :class:`ByRow`: row i of a slab holds what row i of the batch carries.

    Args:
        shapes: (out, in) of the layers of all fans.
    """

    def __init__(self, shapes: Shapes, device: torch.device, dtype: torch.dtype) -> None:
        self._shapes, self._empty = shapes, torch.empty(0, device=device, dtype=dtype)
        self._held: list[list[tuple[str, float]]] = []
        self._widths: dict[Fan, Widths] = {}
        self._slabs: dict[Fan, ByRow] = {}
        self._rank = 0

    def plan(self, stacks: Sequence[Stack]) -> Plan:
        """The plan for a batch; valid until the next is asked for."""
        news = [i for i, stack in enumerate(stacks) if i >= len(self._held) or self._held[i] != named(stack)]
        if len(stacks) > len(self._held) or not self._fits(stacks, news):
            self._begin(stacks)
            news = list(range(len(stacks)))
        for i in news:
            self._write(i, stacks[i])
        rows = len(stacks)
        return {
            fan: ByRow(self._slabs[fan].a[:rows], tuple((columns, b[:rows]) for columns, b in self._slabs[fan].parts))
            for fan in _touched(stacks)
        }

    def _fits(self, stacks: Sequence[Stack], news: Iterable[int]) -> bool:
        if 2 * _rank(stacks) <= self._rank:
            return False  # most of it would be multiplied in vain
        return all(_covers(self._widths.get(fan), needed) for i in news for fan, needed in _widths(stacks[i]).items())

    def _begin(self, stacks: Sequence[Stack]) -> None:
        self._slabs.clear()  # before the new ones take their place, for which there may be no memory
        self._held, self._rank, self._widths = [], 0, {}
        rows, all_widths = -(-len(stacks) // PLACES) * PLACES, _widest(map(_widths, stacks))
        for fan, widths in all_widths.items():
            a = self._empty.new_zeros(rows, sum(widths), self._shapes[fan[0]][1])
            b = [self._empty.new_zeros(rows, w, self._shapes[n][0]) for n, w in zip(fan, widths, strict=True)]
            self._slabs[fan] = ByRow(a, _parts(widths, b))
        self._held, self._rank, self._widths = [[] for _ in range(rows)], _rank(stacks), all_widths

    def _write(self, row: int, stack: Stack) -> None:
        self._held[row] = [("", 0.0)]  # nobody's, until it is whole
        for fan, slab in self._slabs.items():
            deltas = [(m.scale, m.weights.deltas[fan]) for m in stack if fan in m.weights.deltas]
            if len(deltas) == 1 and deltas[0][1].widths == self._widths[fan]:
                _fill(slab.a[row], [b[row] for _, b in slab.parts], *deltas[0])
                continue
            slab.a[row].zero_()  # which makes B's old rows harmless
            for layer, (columns, b) in enumerate(slab.parts):
                at = 0
                for scale, delta in deltas:
                    own, own_b = delta.parts[layer]
                    end = at + own.stop - own.start
                    torch.mul(delta.a[own], scale, out=slab.a[row, columns][at:end])
                    b[row, at:end] = own_b if len(own_b) else 0
                    at = end
        self._held[row] = named(stack)


class ColumnSlabs:
    """For :class:`Masked`: each distinct plugin of the batch has a place along the rank axis of every layer.

    Args:
        shapes: (out, in) of the layers of all fans.
    """

    def __init__(self, shapes: Shapes, device: torch.device, dtype: torch.dtype) -> None:
        self._shapes, self._empty = shapes, torch.empty(0, device=device, dtype=dtype)
        self._places: list[str] = []  # whose matrices they hold; empty for nobody's
        self._widths: dict[Fan, Widths] = {}  # of one place
        self._slabs: dict[Fan, tuple[Tensor, Parts]] = {}

    def plan(self, stacks: Sequence[Stack]) -> Plan:
        """The plan for a batch; valid until the next is asked for."""
        distinct = {m.key: m.weights for stack in stacks for m in stack}
        news = [key for key in distinct if key not in self._places]
        free = [place for place, key in enumerate(self._places) if key not in distinct]
        fits = all(_covers(self._widths.get(fan), d.widths) for k in news for fan, d in distinct[k].deltas.items())
        if len(news) > len(free) or not fits or len(self._places) - len(distinct) > max(PLACES, len(distinct)):
            self._begin(-(-len(distinct) // PLACES) * PLACES, _widest(_by_fan(w.deltas) for w in distinct.values()))
            news, free = list(distinct), list(range(len(distinct)))
        for key, place in zip(news, free, strict=False):
            self._places[place] = ""  # nobody's, until it is whole
            self._write(place, distinct[key].deltas)
            self._places[place] = key
        masks = self._masks(stacks)
        return {
            fan: Masked(self._slabs[fan][0], masks[self._widths[fan]], self._slabs[fan][1]) for fan in _touched(stacks)
        }

    def _begin(self, places: int, widths: dict[Fan, Widths]) -> None:
        self._slabs.clear()  # before the new ones take their place, for which there may be no memory
        self._places, self._widths = [], {}
        for fan, each in widths.items():
            a = self._empty.new_zeros(places * sum(each), self._shapes[fan[0]][1])
            b = [self._empty.new_zeros(places * w, self._shapes[n][0]) for n, w in zip(fan, each, strict=True)]
            self._slabs[fan] = a, _parts([places * w for w in each], b)
        self._places, self._widths = [""] * places, widths

    def _write(self, place: int, deltas: Mapping[Fan, Delta]) -> None:
        for fan, (a, parts) in self._slabs.items():
            delta = deltas.get(fan)
            for layer, (width, (columns, b)) in enumerate(zip(self._widths[fan], parts, strict=True)):
                mine = slice(place * width, (place + 1) * width)
                target = a[columns][mine]
                own, own_b = delta.parts[layer] if delta is not None else (slice(0, 0), b[:0])
                used = own.stop - own.start
                if used < width:
                    target.zero_()  # which makes B's old rows harmless
                if delta is not None and used:
                    target[:used] = delta.a[own]
                    b[mine][:used] = own_b

    def _masks(self, stacks: Sequence[Stack]) -> dict[Widths, Tensor]:
        """[rows, 1, R] of fans with the same widths."""
        at = {key: place for place, key in enumerate(self._places) if key}
        scales = [[0.0] * len(self._places) for _ in stacks]
        for row, stack in zip(scales, stacks, strict=True):
            for mount in stack:  # the same plugin twice on a row adds up, as the sum of its updates does
                row[at[mount.key]] += mount.scale
        each = torch.tensor(scales, dtype=self._empty.dtype, device=self._empty.device)
        return {
            widths: torch.cat([each.repeat_interleave(w, 1) for w in widths], 1).unsqueeze(1)
            for widths in set(self._widths.values())
        }


def _fill(a: Tensor, parts: Sequence[Tensor], scale: float, delta: Delta) -> None:
    torch.mul(delta.a, scale, out=a)
    for b, (_, own) in zip(parts, delta.parts, strict=True):
        if len(own):
            b.copy_(own)


def _rank(stacks: Sequence[Stack]) -> int:
    return max(sum(m.weights.rank for m in stack) for stack in stacks)


def _touched(stacks: Sequence[Stack]) -> set[Fan]:
    return {fan for weights in {m.weights for stack in stacks for m in stack} for fan in weights.deltas}


def _by_fan(deltas: Mapping[Fan, Delta]) -> dict[Fan, Widths]:
    return {fan: delta.widths for fan, delta in deltas.items()}


def _widths(stack: Stack) -> dict[Fan, Widths]:
    """Columns that a stack takes of each fan."""
    if len(stack) == 1:
        return _by_fan(stack[0].weights.deltas)
    found: dict[Fan, Widths] = {}
    for mount in stack:
        for fan, widths in _by_fan(mount.weights.deltas).items():
            found[fan] = tuple(map(sum, zip(found.get(fan, (0,) * len(fan)), widths, strict=True)))
    return found


def _widest(all_widths: Iterable[dict[Fan, Widths]]) -> dict[Fan, Widths]:
    found: dict[Fan, Widths] = {}
    for each in all_widths:
        for fan, widths in each.items():
            found[fan] = tuple(map(max, zip(found.get(fan, (0,) * len(fan)), widths, strict=True)))
    return found


def _covers(there: Widths | None, needed: Widths) -> bool:
    return there is not None and all(have >= need for have, need in zip(there, needed, strict=True))


def _parts(widths: Sequence[int], matrices: Sequence[Tensor]) -> Parts:
    ends = [sum(widths[: n + 1]) for n in range(len(widths))]
    return tuple((slice(end - w, end), b) for end, w, b in zip(ends, widths, matrices, strict=True))
