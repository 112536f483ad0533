"""A row of the table: two things that are measured in turn, so that a machine whose speed drifts changes both."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

Measure = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured, and what should come of it.

    Attributes:
        number: of the row in the table.
        first, second: measure once, in ``unit``; without a second, the first is not a ratio but a bound of its own.
        asked: the bound on ``first / second``; at least it if ``at_least``, else at most.
    """

    number: str
    title: str
    unit: str
    first: Measure
    second: Measure | None
    asked: float
    at_least: bool = True

    def measure(self, rounds: int) -> Found:
        """Medians of several rounds, after one that warms up."""
        other = self.second or (lambda: 1.0)
        _ = self.first(), other()
        pairs = [(self.first(), other()) for _ in range(rounds)]
        first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = first / second
        reached = ratio >= self.asked if self.at_least else ratio <= self.asked
        measured = f"{first:.3g} / {second:.3g} {self.unit}" if self.second else f"{first:.3g} {self.unit}"
        return Found(self.number, self.title, measured, ratio, self.asked, self.at_least, reached)


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured."""

    number: str
    title: str
    measured: str
    ratio: float
    asked: float
    at_least: bool
    reached: bool
