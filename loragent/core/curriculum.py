"""What every kind of experience becomes before it is trained: rows of tokens with a loss mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Teacher:
    """A frozen model's distribution at the trained positions of a row, cut to its top k tokens.

    Attributes:
        ids: [positions][k] token ids.
        probabilities: [positions][k], each summing to 1.
    """

    ids: tuple[tuple[int, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One sequence to train on.

    Attributes:
        ids: token ids.
        mask: same length; True where the token is a target of the loss.
        line: where it came from, 1-based, for messages to the user.
        teacher: soft targets in place of the tokens themselves (distillation).
        group: rows of the same one teach the same in other words; "" is none.
    """

    ids: tuple[int, ...]
    mask: tuple[bool, ...]
    line: int = 0
    teacher: Teacher | None = None
    group: str = ""

    @property
    def targets(self) -> int:
        """Tokens with a loss; the first token of a row has nothing that predicts it."""
        return sum(self.mask[1:])


def micro_batches(rows: Sequence[TrainingRow], batch: Sequence[int], tokens: int) -> list[list[int]]:
    """Cut a batch so that no part holds more than ``tokens`` padded tokens, unless one row alone does."""
    parts: list[list[int]] = []
    for i in sorted(batch, key=lambda i: len(rows[i].ids)):
        if parts and len(rows[i].ids) * (len(parts[-1]) + 1) <= tokens:
            parts[-1].append(i)
        else:
            parts.append([i])
    return parts


@runtime_checkable
class Curriculum(Protocol):
    """A source of training rows: role dialogues, a long prompt, tool examples, remembered facts.

    Attributes:
        cut: the lines of the rows that were too long and lost their end, once :meth:`rows` was called.
    """

    cut: list[int]

    @property
    def data_sha256(self) -> str:
        """Digest of the data, for the manifest and for resuming."""
        ...

    def rows(self) -> list[TrainingRow]:
        """All rows, in a fixed order."""
        ...
