"""What a base says without a memory, and shall go on saying with one: general questions with answers, and prose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

from ..base import Base
from ..core import Message, RowScore, TrainingRow
from ..learning import prose_row, row_of
from ..model import ChatTemplate

JUDGED = 3  # every third line is kept apart to judge by
_TAUGHT: WeakKeyDictionary[Base, list[TrainingRow]] = WeakKeyDictionary()
_ALONE: WeakKeyDictionary[Base, list[RowScore]] = WeakKeyDictionary()


def general(template: ChatTemplate, *, prose: bool = False) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """The rows of ``general.jsonl``: those that a night holds to the base, and those that it never sees.

    Args:
        prose: those alone that answer no question; a manner of answering must leave them as they are, too.
    """
    text = Path(__file__).with_name("general.jsonl").read_text(encoding="utf-8")
    lines = [line for line in map(json.loads, text.splitlines()) if not (prose and "question" in line)]
    rows = [_row(template, line) for line in lines]
    return [row for n, row in enumerate(rows, 1) if n % JUDGED], rows[JUDGED - 1 :: JUDGED]


def as_it_says(base: Base) -> list[TrainingRow]:
    """The rows that a night holds to what a base says of itself; it is asked once, not every night."""
    if base not in _TAUGHT:
        rows, _ = general(base.template)
        _TAUGHT[base] = [replace(row, teacher=teacher) for row, teacher in zip(rows, base.teach(rows), strict=True)]
    return _TAUGHT[base]


def alone(base: Base) -> list[RowScore]:
    """What a base without a memory scores on the rows to judge by; it, too, is asked once."""
    if base not in _ALONE:
        _ALONE[base] = base.score(general(base.template)[1])
    return _ALONE[base]


def _row(template: ChatTemplate, line: dict[str, str]) -> TrainingRow:
    if "question" in line:
        asked, said = Message(role="user", content=line["question"]), Message(role="assistant", content=line["answer"])
        return row_of(template, (asked, said))
    return prose_row(template, line["text"])
