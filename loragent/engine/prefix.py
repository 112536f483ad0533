"""Beginnings that were read before: keys and values of rows that have ended, for rows that begin alike.

A beginning is known by its tokens and its exact stack (the hashes of the plugins' weights, their scales, and from which
token they apply), never by a name; so nothing has to be forgotten when a version is published or rolled back.

Below the lowest layer that its plugins touch, a row computes what the bare base does. What was read there, the trunk of
a beginning, serves rows of any stack that touches no lower layer.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from torch import Tensor

from .cache import KeyValues

StackKey = tuple[tuple[str, float, int], ...]
NO_MEMORY = (RuntimeError, MemoryError)  # what is kept for others may be missed: no row may fail for it
WORTH = 32  # tokens; less is read anew as fast


@dataclass(frozen=True, slots=True)
class Kept:
    """The tokens of a row that has ended, and their keys and values."""

    stack: StackKey
    ids: Sequence[int]
    values: KeyValues

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes


@dataclass(frozen=True, slots=True)
class Trunk:
    """What the layers below ``level`` made of some tokens.

    Attributes:
        hidden: [tokens, d], what the layer ``level`` reads.
        values: of the layers below it.
    """

    level: int
    ids: Sequence[int]
    hidden: Tensor
    values: KeyValues

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.hidden.nbytes + self.values.nbytes


class PrefixStore:
    """Keeps what was read last, within a budget; the least recently used goes first.

    Args:
        budget: bytes of keys, values and hidden states.

    Attributes:
        nbytes: bytes kept.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self.nbytes = 0
        self._kept: OrderedDict[int, Kept | Trunk] = OrderedDict()
        self._numbers = count()

    def longest(self, stack: StackKey, ids: Sequence[int], more_than: int = 0) -> tuple[KeyValues | None, int]:
        """Keys and values of the longest known beginning of ``ids[:-1]``, and its tokens; None if none is longer than
        ``more_than``, or worth it. The last token is always read anew: its logits are wanted.
        """
        best, tokens = -1, max(more_than, WORTH - 1)
        for number, kept in self._kept.items():
            if isinstance(kept, Kept):
                found = common(kept.ids, ids, min(len(ids) - 1, alike(stack, kept.stack)))
                best, tokens = (number, found) if found > tokens else (best, tokens)
        found_best = self._use(best)
        return (found_best.values, tokens) if found_best is not None else (None, more_than)

    def trunk(self, floor: int, ids: Sequence[int], more_than: int) -> tuple[Trunk, int] | None:
        """The longest trunk of ``ids[:-1]`` that a row which touches the layers from ``floor`` on can use."""
        best, tokens = -1, more_than + WORTH
        for number, kept in self._kept.items():
            if isinstance(kept, Trunk) and 0 < kept.level <= floor:
                found = common(kept.ids, ids, len(ids) - 1)
                best, tokens = (number, found) if found > tokens else (best, tokens)
        found_best = self._use(best)
        return (found_best, tokens) if isinstance(found_best, Trunk) else None

    def keep(self, new: Kept | Trunk) -> None:
        """Remember a beginning; those that it continues are forgotten."""
        if len(new.ids) < WORTH or new.nbytes > self._budget:
            return
        for number, known in list(self._kept.items()):
            if not _same_kind(known, new):
                continue
            shared = common(known.ids, new.ids, len(new.ids))
            if shared == len(new.ids):
                return
            if shared == len(known.ids):
                self._drop(number)
        self._kept[next(self._numbers)] = new
        self.nbytes += new.nbytes
        while self.nbytes > self._budget:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.nbytes = 0

    def _drop(self, number: int) -> None:
        self.nbytes -= self._kept.pop(number).nbytes

    def _use(self, number: int) -> Kept | Trunk | None:
        if number < 0:
            return None
        self._kept.move_to_end(number)
        return self._kept[number]


def _same_kind(one: Kept | Trunk, other: Kept | Trunk) -> bool:
    if isinstance(one, Kept):
        return isinstance(other, Kept) and one.stack == other.stack
    return isinstance(other, Trunk) and one.level == other.level


def alike(one: StackKey, other: StackKey) -> int:
    """How many tokens two stacks treat alike: up to where the first plugin applies that is not in both."""
    if one == other:
        return 1 << 60
    mine, theirs = Counter(one), Counter(other)
    return min(start for _, _, start in [*(mine - theirs), *(theirs - mine)]) if mine != theirs else 1 << 60


def common(one: Sequence[int], other: Sequence[int], limit: int) -> int:
    """How many tokens two rows have in common at the beginning, at most ``limit``.

    By halving, since comparing slices is quick.
    """
    known, last = 0, min(len(one), len(other), limit)
    while known < last:
        middle = (known + last + 1) // 2
        known, last = (middle, last) if one[known:middle] == other[known:middle] else (known, middle - 1)
    return known
