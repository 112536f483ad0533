"""What a base says without a memory, and shall go on saying with one: general questions with answers."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from ..core import Message


@lru_cache(maxsize=1)
def general() -> tuple[tuple[Message, Message], ...]:
    """The conversations of ``general.jsonl``."""
    lines = Path(__file__).with_name("general.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(
        (Message(role="user", content=row["question"]), Message(role="assistant", content=row["answer"]))
        for row in map(json.loads, lines)
    )
