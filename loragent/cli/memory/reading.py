"""Texts with the facts that stand in them, read by the memory-writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...base import Base
from ...core import MemoryFault
from ...memory import Fact
from ...memory.fact import FIRST_PERSON, plain
from ...memory.writer import NAME, Reading, facts_of, writer_of
from ...training import read_examples
from .score import mean

ROWS = Path("roles/memory-writer/eval.jsonl")


def reading(base: Base) -> dict[str, Any]:
    """How many facts of held-out texts are found, how many of those found are there, and how often one is made up.

    Raises:
        MemoryFault: there is no writer.
    """
    writer = writer_of(base, "auto")
    if writer is None or not ROWS.is_file():
        raise MemoryFault(f"there is no plugin {NAME}, or no {ROWS}", "run it in a clone")
    now, rows = datetime.now(UTC), read_examples(ROWS)
    texts = [row.messages[0].content for row in rows]
    told = [Reading.model_validate(json.loads(row.messages[1].content)) for row in rows]
    wanted = [facts_of(text, reading, FIRST_PERSON, now) for text, reading in zip(texts, told, strict=True)]
    found = writer.read(texts, FIRST_PERSON, now)
    return {
        "texts": len(texts),
        "facts": sum(map(len, wanted)),
        "found": _share(wanted, found, _said),
        "found, relation and all": _share(wanted, found, _whole),
        "right of those found": _share(found, wanted, _said),
        "nothing found where nothing is": mean(not has for has, right in zip(found, wanted, strict=True) if not right),
    }


def _share(some: Sequence[Sequence[Fact]], others: Sequence[Sequence[Fact]], part: Callable[[Fact], object]) -> float:
    """Of some facts, those that are among the others of the same text, as far as a part of them goes."""
    pairs = zip(some, others, strict=True)
    return mean(part(fact) in {part(other) for other in held} for facts, held in pairs for fact in facts)


def _said(fact: Fact) -> object:
    return plain(fact.subject), plain(fact.value)


def _whole(fact: Fact) -> object:
    return _said(fact), plain(fact.relation)
