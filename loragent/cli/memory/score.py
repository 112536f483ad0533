"""Numbers of the benchmark of memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...memory import Match


def auroc(known: Sequence[float], unknown: Sequence[float]) -> float:
    """The share of pairs in which what is known has the higher score; ties count half."""
    wins = sum((k > u) + (k == u) / 2 for k in known for u in unknown)
    return wins / (len(known) * len(unknown))


def nearness(match: Match | None) -> float:
    """How near a question comes to what is known; 0 to nothing."""
    return match.score if match is not None else 0.0


def mean(values: Iterable[float]) -> float:
    """0 of nothing."""
    found = list(values)
    return sum(found) / len(found) if found else 0.0
