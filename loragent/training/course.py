"""Which rows come next: the batches of an epoch, without most rows of what is known already."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from ..core import TrainingRow
from .batches import length_grouped
from .checkpoint import Progress
from .settings import TrainSettings

REST = 2  # rows of a group that are passed over behind one that was known
AHEAD = 4  # batches that are filled at a time where rows are passed over, so that rows of like length come together


class Course:
    """An epoch's batches.

    Rows of a group teach the same in other words. Where one of them had a loss below ``settings.known``, the next of
    them are passed over: what is known already has next to no gradient and costs as much time as the rest (compare
    selective backpropagation, Jiang et al. 2019, arXiv 1910.00762, which reads a row to know it; here its group tells).

    Args:
        train: indices of the rows that are trained on.
        at: where the run stands; kept up to date.

    Attributes:
        size: batches of an epoch, those included that will be passed over.
    """

    def __init__(
        self, rows: Sequence[TrainingRow], train: Sequence[int], settings: TrainSettings, at: Progress
    ) -> None:
        self._rows, self._train, self._settings, self._at = rows, train, settings, at
        self.size = math.ceil(len(train) / settings.batch_rows)

    @property
    def done(self) -> int:
        """Batches that are behind, those included that were passed over."""
        return self._at.epoch * self.size + self._at.batch - len(self._at.waiting)

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Those of an epoch that are still to do, each to be noted before the next is asked for."""
        seed = self._settings.seed * 1000 + epoch
        order = length_grouped(self._rows, self._train, self._settings.batch_rows, seed)
        while self._at.waiting or self._at.batch < len(order):
            self._at.waiting = self._at.waiting or self._filled(order)
            if self._at.waiting:
                yield self._at.waiting.pop(0)

    def note(self, losses: Mapping[int, float]) -> None:
        """losses: of the rows of a batch, each over all of its targets."""
        for i, loss in losses.items():
            row = self._rows[i]
            if row.group:
                self._at.resting[row.group] = REST if loss < self._settings.known * row.targets else 0

    def _filled(self, order: Sequence[list[int]]) -> list[list[int]]:
        """The next batches, of the rows that are not passed over."""
        if not self._settings.known:
            self._at.batch += 1
            return [order[self._at.batch - 1]]
        size, found = self._settings.batch_rows, list[int]()
        while self._at.batch < len(order) and len(found) < AHEAD * size:
            found += [i for i in order[self._at.batch] if not self._rests(self._rows[i].group)]
            self._at.batch += 1
        found.sort(key=lambda i: len(self._rows[i].ids))
        parts = min(len(found), max(1, round(len(found) / size)))
        ends = [len(found) * n // parts for n in range(parts + 1)] if parts else []
        return [found[start:end] for start, end in pairwise(ends)]

    def _rests(self, group: str) -> bool:
        left = self._at.resting.get(group, 0)
        self._at.resting[group] = max(0, left - 1)
        return left > 0
