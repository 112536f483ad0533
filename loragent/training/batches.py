"""Which rows are trained together: the same order for the same seed, so that a resumed run goes on as it was."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..core import TrainingRow


def split_rows(rows: Sequence[TrainingRow], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and to validate on; fewer than 20 rows are too few to hold any out."""
    order = list(range(len(rows)))
    if share == 0 or len(rows) < 20:
        return order, []
    random.Random(seed).shuffle(order)
    held = max(4, min(64, round(share * len(rows))))
    return sorted(order[held:]), sorted(order[:held])


def length_grouped(rows: Sequence[TrainingRow], indices: Sequence[int], size: int, seed: int) -> list[list[int]]:
    """Batches of rows of like length, in random order; less padding without a fixed sequence of lengths."""
    rng = random.Random(seed)
    blurred = sorted(indices, key=lambda i: len(rows[i].ids) * (1 + 0.3 * rng.random()))
    batches = [blurred[at : at + size] for at in range(0, len(blurred), size)]
    rng.shuffle(batches)
    return batches
