"""Keys and values of the running rows: one slot a row, rows kept contiguous, grown by doubling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_STEP = 256  # slots grow in multiples of that many tokens


class KeyValues(NamedTuple):
    """One row's, layer by layer: [heads, tokens, head_dim]."""

    k: tuple[Tensor, ...]
    v: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(t.nbytes for t in (*self.k, *self.v))


class KeyValueCache:
    """Slotted memory; a row has one slot.

    Attributes:
        k, v: per layer, [slots, heads, tokens, head_dim]; made when the first keys arrive, since only
            they know the layer's shape.
        tokens: of a slot.
        moved: counts how often they got another place.
    """

    def __init__(self, layers: int, max_slots: int) -> None:
        self._max_slots, self.moved = max_slots, 0
        self.k: list[Tensor | None] = [None] * layers
        self.v: list[Tensor | None] = [None] * layers
        self._slots = self.tokens = 0

    def reserve(self, slots: int, tokens: int) -> None:
        """Make room; what is there is copied only when it has to grow."""
        if slots <= self._slots and tokens <= self.tokens:
            return
        rows, width = self._slots, self.tokens
        if slots > rows:
            rows = max(slots, min(2 * rows, self._max_slots))
        if tokens > width:
            width = -(-max(tokens, int(1.5 * width)) // _STEP) * _STEP
        grown = [[_grown(t, rows, width) if t is not None else None for t in store] for store in (self.k, self.v)]
        self.k[:], self.v[:] = grown  # only now: running out of memory changes nothing
        self._slots, self.tokens = rows, width
        self.moved += 1

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy one row's first ``tokens`` keys and values into another slot."""
        for tensor in self._present():
            tensor[target, :, :tokens] = tensor[source, :, :tokens]

    def wipe(self, slot: int) -> None:
        """Zero a slot."""
        for tensor in self._present():
            tensor[slot].zero_()

    def swap(self, one: int, other: int, tokens: int) -> None:
        """Exchange the first ``tokens`` keys and values of two slots."""
        for tensor in self._present():
            tensor[[one, other], :, :tokens] = tensor[[other, one], :, :tokens]

    def take(self, slot: int, tokens: int, layers: int | None = None) -> KeyValues:
        """A copy of a row's first ``tokens`` keys and values, of the lowest layers or all."""
        stores = (self.k[:layers], self.v[:layers])
        k, v = (tuple(t[slot, :, :tokens].clone() for t in store if t is not None) for store in stores)
        return KeyValues(k, v)

    def put(self, slot: int, values: KeyValues, tokens: int) -> None:
        """Write the first ``tokens`` of what :meth:`take` gave into a slot."""
        for store, given in ((self.k, values.k), (self.v, values.v)):
            for index, tensor in enumerate(given):
                self._layer(store, index, tensor[None])[slot, :, :tokens] = tensor[:, :tokens]

    def _present(self) -> list[Tensor]:
        return [t for t in (*self.k, *self.v) if t is not None]

    def clear(self) -> None:
        """Free the memory."""
        for store in (self.k, self.v):
            store[:] = [None] * len(store)
        self._slots = self.tokens = 0
        self.moved += 1

    def writer(self, slots: Sequence[int], positions: Tensor, tokens: int) -> CacheView:
        """A view for one forward pass over the rows in some slots.

        Args:
            positions: [rows, q] position of each new token in its row.
            tokens: how many tokens of each slot the pass attends to.
        """
        return CacheView(self, slots, positions, tokens)

    def _layer(self, store: list[Tensor | None], index: int, like: Tensor) -> Tensor:
        tensor = store[index]
        if tensor is None:
            tensor = store[index] = like.new_zeros(self._slots, like.shape[1], self.tokens, like.shape[3])
        return tensor


def _grown(old: Tensor, slots: int, tokens: int) -> Tensor:
    new = old.new_zeros(slots, old.shape[1], tokens, old.shape[3])
    new[: old.shape[0], :, : old.shape[2]] = old
    return new


class CacheView:
    """What transformers' attention layers see of the cache: ``update`` stores and returns.

    Attributes:
        adjacent: whether the rows lie side by side.
    """

    is_sliding = (False,)
    is_compileable = False

    def __init__(self, cache: KeyValueCache, slots: Sequence[int], positions: Tensor, tokens: int) -> None:
        self._cache, self._tokens = cache, tokens
        self._rows = torch.tensor(slots, device=positions.device)[:, None]  # [rows, 1]
        first = slots[0]
        self.adjacent = list(slots) == list(range(first, first + len(slots)))
        # Of rows that lie side by side a view will do; others are copied together.
        self._part: Any = slice(first, first + len(slots)) if self.adjacent else self._rows[:, 0]
        self._positions = positions

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """key, value: [rows, heads, q, head_dim] -> the same of all tokens so far."""
        k = self._cache._layer(self._cache.k, layer_idx, key)
        v = self._cache._layer(self._cache.v, layer_idx, value)
        k[self._rows, :, self._positions] = key.transpose(1, 2)
        v[self._rows, :, self._positions] = value.transpose(1, 2)
        return k[self._part, :, : self._tokens], v[self._part, :, : self._tokens]

    def slots(self, like: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """The memory of the rows, which must be :attr:`adjacent`: [rows, heads, tokens, head_dim]."""
        k = self._cache._layer(self._cache.k, layer_idx, like)
        v = self._cache._layer(self._cache.v, layer_idx, like)
        return k[self._part], v[self._part]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Asked by transformers only where no positions are given; ours always are."""
        return 0
