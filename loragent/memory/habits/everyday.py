"""Everyday questions, answered in several languages: ``everyday.jsonl``, what a manner of answering is taught on.

The first sentence of an answer is a whole answer by itself, and a measure in it stands in braces, in metric units.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .language import ENGLISH
from .units import PLACE

CHECKED = 4  # every fourth line is never trained on


@dataclass(frozen=True, slots=True)
class Everyday:
    """A question, and its answer by language."""

    question: str
    answers: Mapping[str, str]

    @property
    def measured(self) -> bool:
        """Whether its answer names a measure."""
        return PLACE.search(self.answers[ENGLISH]) is not None


def everyday() -> tuple[list[Everyday], list[Everyday]]:
    """Those that are trained on, and those that only check what was learnt."""
    lines = _lines()
    return [line for n, line in enumerate(lines, 1) if n % CHECKED], list(lines[CHECKED - 1 :: CHECKED])


@cache
def _lines() -> tuple[Everyday, ...]:
    text = Path(__file__).with_name("everyday.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(Everyday(row.pop("question"), {ENGLISH: row.pop("answer"), **row}) for row in rows)
