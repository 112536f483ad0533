"""What a base says without a memory, and shall go on saying with one: general questions with answers, and prose."""

from __future__ import annotations

import json
from pathlib import Path

from ..core import Message, TrainingRow
from ..learning import prose_row, row_of
from ..model import ChatTemplate

JUDGED = 3  # every third line is kept apart to judge by


def general(template: ChatTemplate) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """The rows of ``general.jsonl``: those that a night holds to the base, and those that it never sees."""
    lines = Path(__file__).with_name("general.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [_row(template, json.loads(line)) for line in lines]
    return [row for n, row in enumerate(rows, 1) if n % JUDGED], rows[JUDGED - 1 :: JUDGED]


def _row(template: ChatTemplate, line: dict[str, str]) -> TrainingRow:
    if "question" in line:
        asked, said = Message(role="user", content=line["question"]), Message(role="assistant", content=line["answer"])
        return row_of(template, (asked, said))
    return prose_row(template, line["text"])
