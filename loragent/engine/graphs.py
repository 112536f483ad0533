"""Decode steps recorded as CUDA graphs: a step of a small base is a thousand kernels, which a GPU does in the time that
Python takes to ask for fifty.

A recording replays the same kernels on the same addresses. So it reads its tokens and positions from tensors of its
own, attends to a width that grows in steps, and is good for as long as keys, values and plugins' matrices lie where
they lay; what they hold may change.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .lora import Plan

WIDTH = 256  # tokens: widths are multiples of that
OFTEN = 2  # steps alike that are computed as they come, before one is recorded: it costs as much as several
KEPT = 24  # recordings; the least recently used goes first

Step = Callable[[Tensor, Tensor], Callable[[], Tensor]]
"""Of token ids and positions, both [rows, 1], makes what computes logits [rows, vocabulary] of whatever they hold."""


@dataclass(frozen=True, slots=True)
class _Recording:
    """A step, and what it reads and writes.

    Attributes:
        run: what was recorded, held on to with all that it reads, so that nothing else takes its place.
    """

    ids: Tensor
    positions: Tensor
    logits: Tensor
    graph: torch.cuda.CUDAGraph
    run: Callable[[], Tensor]


class Graphs:
    """The recordings of one engine."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Recording] = OrderedDict()
        self._seen: Counter[Hashable] = Counter()
        self._place = -1
        self._pool: Any = None
        self._latest: tuple[Plan | None, Hashable] = None, ()

    def logits(self, ids: Tensor, positions: Tensor, width: int, plan: Plan, place: int, step: Step) -> Tensor:
        """The logits of a step, [rows, vocabulary]; valid until the next.

        Args:
            ids, positions: [rows, 1].
            width: of keys that are attended to.
            place: changes whenever keys and values move.
        """
        if place != self._place:  # what was recorded would write where nothing is any more
            self._kept.clear()
            self._place = place
        if plan is not self._latest[0]:
            self._latest = plan, _addresses(plan)
        key = (len(ids), width, self._latest[1])
        known = self._kept.get(key)
        if known is None:
            self._seen[key] += 1
            if self._seen[key] <= OFTEN:
                return step(ids, positions)()
            known = self._kept[key] = self._record(ids.clone(), positions.clone(), step)
            self._forget_some()
        self._kept.move_to_end(key)
        known.ids.copy_(ids)
        known.positions.copy_(positions)
        known.graph.replay()
        return known.logits

    def _record(self, ids: Tensor, positions: Tensor, step: Step) -> _Recording:
        run, graph, beside = step(ids, positions), torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            run()  # what libraries set up at their first call can't be recorded
        torch.cuda.current_stream().wait_stream(beside)
        # Loading goes on in another thread, which may allocate meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=beside, capture_error_mode="thread_local"):
            logits = run()
        self._pool = self._pool or graph.pool()
        return _Recording(ids, positions, logits, graph, run)

    def _forget_some(self) -> None:
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        if len(self._seen) > 64 * KEPT:
            self._seen.clear()


def _addresses(plan: Plan) -> Hashable:
    """What a recording of a plan relies on."""
    return frozenset(update.address for update in plan.values())
