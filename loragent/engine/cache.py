"""Keys and values of the running rows: one slot a row, rows kept contiguous, grown by doubling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_STEP = 256  # slots grow in multiples of that many tokens


class KeyValueCache:
    """Slotted memory, row i of a batch being slot ``first + i``.

    Attributes:
        k, v: per layer, [slots, heads, tokens, head_dim]; made when the first keys arrive, since only
            they know the layer's shape.
    """

    def __init__(self, layers: int, max_slots: int) -> None:
        self._max_slots = max_slots
        self.k: list[Tensor | None] = [None] * layers
        self.v: list[Tensor | None] = [None] * layers
        self._slots = self._tokens = 0

    def reserve(self, slots: int, tokens: int) -> None:
        """Make room; what is there is copied only when it has to grow."""
        if slots <= self._slots and tokens <= self._tokens:
            return
        if slots > self._slots:
            self._slots = max(slots, min(2 * self._slots, self._max_slots))
        if tokens > self._tokens:
            self._tokens = -(-max(tokens, int(1.5 * self._tokens)) // _STEP) * _STEP
        for store in (self.k, self.v):
            store[:] = [self._grown(t) if t is not None else None for t in store]

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy one row's first ``tokens`` keys and values into another slot."""
        if not tokens:
            return
        for store in (self.k, self.v):
            for tensor in store:
                if tensor is not None:
                    tensor[target, :, :tokens] = tensor[source, :, :tokens]

    def clear(self) -> None:
        """Free the memory."""
        self.__init__(len(self.k), self._max_slots)  # type: ignore[misc]

    def writer(self, first: int, positions: Tensor, tokens: int) -> CacheView:
        """A view for one forward pass over the rows from slot ``first`` on.

        Args:
            positions: [rows, q] position of each new token in its row.
            tokens: how many tokens of each slot the pass attends to.
        """
        return CacheView(self, first, positions, tokens)

    def _grown(self, old: Tensor) -> Tensor:
        new = old.new_zeros(self._slots, old.shape[1], self._tokens, old.shape[3])
        new[: old.shape[0], :, : old.shape[2]] = old
        return new

    def _layer(self, store: list[Tensor | None], index: int, like: Tensor) -> Tensor:
        tensor = store[index]
        if tensor is None:
            tensor = store[index] = like.new_zeros(self._slots, like.shape[1], self._tokens, like.shape[3])
        return tensor


class CacheView:
    """What transformers' attention layers see of the cache: ``update`` stores and returns."""

    is_sliding = (False,)
    is_compileable = False

    def __init__(self, cache: KeyValueCache, first: int, positions: Tensor, tokens: int) -> None:
        rows = positions.shape[0]
        self._cache, self._tokens = cache, tokens
        self._part = slice(first, first + rows)
        self._rows = torch.arange(first, first + rows, device=positions.device)[:, None]  # [rows, 1]
        self._positions = positions

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """key, value: [rows, heads, q, head_dim] -> the same of all tokens so far."""
        k = self._cache._layer(self._cache.k, layer_idx, key)
        v = self._cache._layer(self._cache.v, layer_idx, value)
        k[self._rows, :, self._positions] = key.transpose(1, 2)
        v[self._rows, :, self._positions] = value.transpose(1, 2)
        return k[self._part, :, : self._tokens], v[self._part, :, : self._tokens]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Asked by transformers only where no positions are given; ours always are."""
        return 0
