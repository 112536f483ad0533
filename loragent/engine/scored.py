"""What the bare base made of rows that were scored last: the same rows are scored under one stack after the other."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

BYTES = 32 << 20

Key = tuple[int, tuple[int, ...]]  # a level and tokens


class Scored:
    """Hidden states below the lowest layer that a stack touches, within a budget; the least recently used go first."""

    def __init__(self, budget: int = BYTES) -> None:
        self._left = budget
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()

    def get(self, level: int, ids: tuple[int, ...]) -> Tensor | None:
        """What the layer ``level`` reads, [tokens, d]; None if it isn't known."""
        hidden = self._kept.get((level, ids))
        if hidden is not None:
            self._kept.move_to_end((level, ids))
        return hidden

    def keep(self, level: int, ids: tuple[int, ...], hidden: Tensor) -> None:
        """hidden: [tokens, d]; a copy is kept."""
        if (level, ids) in self._kept:
            return
        self._kept[level, ids] = hidden.clone()
        self._left -= hidden.nbytes
        while self._left < 0:
            self._left += self._kept.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget all."""
        self._left += sum(hidden.nbytes for hidden in self._kept.values())
        self._kept.clear()
