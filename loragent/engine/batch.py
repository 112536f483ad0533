"""The rows in flight and their slots: which are read, which decode, and where their keys and values lie."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Sequence as Rows

import torch

from .cache import KeyValueCache
from .prefix import NO_MEMORY, Kept, PrefixStore, Trunk, common
from .sequence import Sequence

READ_TOKENS = 4096  # padded tokens that one step reads at most while no row decodes
CHUNK_TOKENS = 256  # and while rows decode, which wait for no more than that
LEVELS = 4  # at which hidden states are kept at most
TRUNK_TOKENS = 128  # that a trunk must spare to be worth the copies
STEP_TOKENS = 64  # another step costs about as much as reading that many tokens


class Batch:
    """Rows that decode hold the slots 0, 1, 2 ...; rows whose prompts are still being read hold those behind.

    Attributes:
        running: rows that decode; row i has slot i.
        reading: rows whose prompts are being read, first come first.
        prefixes: what rows that ended have read.
    """

    def __init__(self, cache: KeyValueCache, max_rows: int, layers: int, prefixes: PrefixStore) -> None:
        self.running: list[Sequence] = []
        self.reading: list[Sequence] = []
        self.prefixes = prefixes
        self._cache, self._max_rows, self._layers = cache, max_rows, layers
        self._levels: OrderedDict[int, None] = OrderedDict()

    @property
    def rows(self) -> list[Sequence]:
        """All in flight."""
        return [*self.running, *self.reading]

    def admit(self, row: Sequence) -> bool:
        """Give a row a slot, and what is known of its beginning; False while it has to wait.

        It waits for a slot, or for a row that is reading what it need then not read.
        """
        if len(self.rows) >= self._max_rows:
            return False
        self._note_level(row.floor)
        others = [(min(row.common(other), other.done), other) for other in self.rows]
        tokens, like = max(others, key=lambda found: found[0], default=(0, None))
        values, known = self.prefixes.longest(row.stack_key, row.ids, tokens)
        if any(row.common(other) >= known + STEP_TOKENS for other in self.reading):
            return False
        row.trunk = self.prefixes.trunk(row.floor, row.ids, known)
        spared = max(known, row.trunk[1] if row.trunk is not None else 0) + TRUNK_TOKENS
        if any(self._leaves_trunk(other, row, spared) for other in self.reading):
            return False
        row.slot, row.done = len(self.rows), known
        self._cache.reserve(row.slot + 1, len(row.ids) + 1)
        if row.trunk is not None:
            self._cache.put(row.slot, row.trunk[0].values, row.trunk[1])
        if values is not None:
            self._cache.put(row.slot, values, known)
        elif like is not None and known:
            self._cache.copy(like.slot, row.slot, known)
        self.reading.append(row)
        return True

    @property
    def levels(self) -> tuple[int, ...]:
        """Where stacks began lately: hidden states are kept there while prompts are read."""
        return tuple(self._levels)

    def _note_level(self, floor: int) -> None:
        if 0 < floor < self._layers:
            self._levels[floor] = None
            self._levels.move_to_end(floor)
            while len(self._levels) > LEVELS:
                self._levels.popitem(last=False)

    def _leaves_trunk(self, other: Sequence, row: Sequence, tokens: int) -> bool:
        """Whether a row that is being read will leave a trunk of at least so many tokens that this one can use."""
        level = row.floor
        if level not in self._levels or level > other.floor or (other.done and level not in other.tapped):
            return False
        shared = common(row.ids, other.ids, len(row.ids) - 1)
        return shared >= max(tokens, (len(other.ids) - other.done) // 2)  # nor for much that is of no use to it

    def next_to_read(self) -> list[tuple[Sequence, int]]:
        """Rows to read in this step and how many tokens of each, first come first; not too different in length."""
        limit = CHUNK_TOKENS if self.running else READ_TOKENS
        chosen: list[tuple[Sequence, int]] = []
        width = tokens = 0
        for row in self.reading:
            if row.level != self.reading[0].level:
                continue
            fresh = min(row.unread(), limit) if self.running or not chosen else row.unread()
            width, tokens = max(width, fresh), tokens + fresh
            if chosen and width * (len(chosen) + 1) > min(limit, tokens + max(STEP_TOKENS, tokens // 4)):
                break
            chosen.append((row, fresh))
        return chosen

    def promote(self, rows: Rows[Sequence]) -> None:
        """Rows whose prompts are read begin to decode."""
        for row in rows:
            self._leave_trunks(row)
            slot = len(self.running)
            other = next(r for r in self.reading if r.slot == slot)
            if other is not row:
                self._cache.swap(row.slot, slot, max(row.held, other.held))
                other.slot, row.slot = row.slot, slot
            self.reading.remove(row)
            self.running.append(row)

    def _leave_trunks(self, row: Sequence) -> None:
        news = row.done - (row.trunk[1] if row.trunk is not None else 0)
        for level, parts in row.tapped.items():
            if news >= TRUNK_TOKENS and sum(map(len, parts)) == row.done:
                with contextlib.suppress(*NO_MEMORY):
                    values = self._cache.take(row.slot, row.done, level)
                    self.prefixes.keep(Trunk(level, row.ids[: row.done], torch.cat(parts), values))
        row.tapped.clear()

    def retire(self) -> Iterator[Sequence]:
        """Let rows go that have ended or were given up; the last rows move into the gaps."""
        for row in [row for row in self.rows if row.finish or row.cancelled.is_set()]:
            if row.finish != "error" and row.done:
                with contextlib.suppress(*NO_MEMORY):
                    self.prefixes.keep(Kept(row.stack_key, row.ids[: row.done], self._cache.take(row.slot, row.done)))
            elif row.finish == "error":
                self._cache.wipe(row.slot)  # what is not finite would reach whoever comes next through its mask
            hole = row.slot
            if row in self.running:
                hole = self._move(self.running.pop(), hole)
            else:
                self.reading.remove(row)
            last = max(self.reading, key=lambda r: r.slot, default=None)
            if last is not None and last.slot > hole:
                self._cache.copy(last.slot, hole, last.held)
                last.slot = hole
            yield row

    def drop(self) -> None:
        """Forget all rows."""
        self.running.clear()
        self.reading.clear()

    def _move(self, last: Sequence, hole: int) -> int:
        """Put the last running row into a hole; returns the slot that is free then."""
        free = last.slot
        if free != hole:
            self._cache.copy(free, hole, last.done)
            last.slot = hole
            self.running[hole] = last
        return free
