"""Which form of the maths a batch gets: measured, not guessed (docs/adr/0009)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from ..plugin import Shapes
from .lora import ByRun, Delta, Fan, Plan, Stack, named
from .slabs import ColumnSlabs, RowSlabs

DECODING_RUNS, READING_RUNS = 2, 4  # that a batch may have for plugins' own matrices to be the fastest


class Planner:
    """Makes plans for batches whose row i carries ``stacks[i]``, and keeps what the next one can use.

    Args:
        fans: the base's linear layers, those that read the same input together.
        shapes: (out, in) of each layer.
    """

    def __init__(self, fans: Sequence[Fan], shapes: Shapes, device: torch.device, dtype: torch.dtype) -> None:
        self._fans = fans
        self._by_row = RowSlabs(shapes, device, dtype)
        self._masked = ColumnSlabs(shapes, device, dtype)
        # On a GPU a recorded step stays good when a row's plugin changes, since its own matrices are written over.
        self._rows_always = device.type == "cuda"
        self._rows_pay = device.type == "cpu" and dtype == torch.float32
        self._latest: tuple[list[list[tuple[str, float]]], Plan] = [], {}

    def reading(self, stacks: Sequence[Stack]) -> Plan:
        """For rows of many tokens; valid until the next is asked for."""
        runs = _runs(stacks)
        return self._by_run(stacks, runs) if len(runs) <= READING_RUNS else self.decoding(stacks)

    def decoding(self, stacks: Sequence[Stack]) -> Plan:
        """For rows of one token; valid until the next is asked for."""
        names = list(map(named, stacks))
        known, plan = self._latest
        if names != known:
            self._latest = [], {}  # a plan that is not finished leaves the one before it wrong
            plan = self._plan(stacks)
            self._latest = names, plan
        return plan

    def clear(self) -> None:
        """Let go of the plugins that were used last."""
        self._latest = [], {}

    def _plan(self, stacks: Sequence[Stack]) -> Plan:
        runs = _runs(stacks)
        if not runs or (len(runs) <= DECODING_RUNS and not self._rows_always):
            return self._by_run(stacks, runs)
        return self._by_row.plan(stacks) if self._rows_are_faster(stacks) else self._masked.plan(stacks)

    def _by_run(self, stacks: Sequence[Stack], runs: Sequence[tuple[int, int]]) -> Plan:
        """Whatever is new to the batch is used where it lies."""
        plan = {}
        for fan in self._fans:
            touched = [(first, end, deltas) for first, end in runs if (deltas := _of(stacks[first], fan))]
            if touched:
                plan[fan] = ByRun(len(stacks), tuple(touched))
        return plan

    def _rows_are_faster(self, stacks: Sequence[Stack]) -> bool:
        if self._rows_always:
            return True
        if not self._rows_pay:
            return False
        ranks = {m.key: m.weights.rank for stack in stacks for m in stack}
        widest = max(sum(m.weights.rank for m in stack) for stack in stacks)
        return sum(ranks.values()) >= 64 and widest * len(stacks) <= 1.5 * sum(ranks.values())


def _runs(stacks: Sequence[Stack]) -> list[tuple[int, int]]:
    """First and behind last of the rows that lie side by side under one stack, where there is one."""
    found, first = [], 0
    for names, rows in groupby(map(named, stacks)):
        end = first + len(list(rows))
        if names:
            found.append((first, end))
        first = end
    return found


def _of(stack: Stack, fan: Fan) -> tuple[tuple[float, Delta], ...]:
    return tuple((m.scale, m.weights.deltas[fan]) for m in stack if fan in m.weights.deltas)
