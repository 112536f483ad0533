"""The tables of ``loragent bench memory``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ...base import Base
from ...core import DataError, TrainingRow
from ...learning import prose_row
from ...memory import Memory
from ..console import err, print_json, table
from ..measure import machine
from ..open import open_base
from .documents import documents
from .habits import habits, role_habits
from .nights import nights
from .reading import reading
from .score import auroc, nearness
from .world import World, misses, questions

PARTS = ("gate", "reading", "habits", "nights", "documents")
KNOWN, MISSES = 100, 200  # facts that are told for the gate, and questions that none of them answers
ROLE = Path("roles/concierge")  # whose answers are to keep to a user's habits
PAGE = 200  # tokens of each text that are read


def bench_memory(
    folder: Path,
    parts: Sequence[str],
    sessions: int,
    seed: int,
    *,
    texts: Path | None = None,
    data: Path | None = None,
    as_json: bool = False,
) -> None:
    """Measure the parts and show them.

    Args:
        texts: a file of general texts; by how much its perplexity rises is told too.
        data: the folder of the conversations that are told in "documents".
    """
    if unknown := set(parts) - set(PARTS):
        raise DataError(folder, f"there is no part {', '.join(sorted(unknown))}", f"there are {', '.join(PARTS)}")
    if "documents" in parts and data is None:
        raise DataError(folder, "the part documents needs conversations", "point --data at bfcl_memory")
    found: dict[str, Any] = {}
    with open_base(None) as base:
        if "reading" in parts:
            found["reading"] = reading(base)
        pages = _read(texts, base)  # what can't be read is said before anything is measured
        if "gate" in parts:
            found["gate"] = _gate(base, folder / "gate", seed)
        if "habits" in parts:
            with _empty(base, folder / "habits", writer=None) as memory:
                found["habits"] = habits(base, memory, seed)
            with _empty(base, folder / "role-habits", writer=None) as memory:
                found["role habits"] = role_habits(base, memory, ROLE)
        if "nights" in parts:
            with _empty(base, folder / "nights") as memory:
                rows, ways, end = nights(base, memory, World(seed), sessions, pages)
            found |= {"nights": rows, "ways": ways, "end": end}
        if "documents" in parts:
            assert data is not None
            with _empty(base, folder / "documents", writer=None) as told:  # as notes, each as it was said
                found["documents"] = documents(base, told, data)
    found["machine"] = machine()
    print_json(found) if as_json else _show(found)


def _gate(base: Base, folder: Path, seed: int) -> dict[str, float]:
    """How well what is known is told from what isn't, without any model but the embedder."""
    world = World(seed)
    facts = list(islice(world.facts(), KNOWN))
    memory = _empty(base, folder)
    memory.remember(facts)
    asked = [(question, fact) for fact in facts for question in questions(fact)]
    unknown = misses(facts, world.strangers, MISSES)
    known = [(memory.match(question), fact) for question, fact in asked]
    strange = [memory.match(question) for question in unknown]
    right = [found is not None and found.known and found.record.text == fact.text for found, fact in known]
    memory.close()
    return {
        "questions": len(asked),
        "matched": sum(right) / len(right),
        "unknown": len(unknown),
        "taken for known": sum(found is not None and found.known for found in strange) / len(strange),
        "auroc": auroc([nearness(found) for found, _ in known], [nearness(found) for found in strange]),
    }


def _read(texts: Path | None, base: Base) -> list[TrainingRow]:
    if texts is None:
        return []
    try:
        found = [json.loads(line)["text"] for line in texts.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(texts, f"can't be read: {error}", 'give a file with a {"text": ...} a line') from error
    return [prose_row(base.template, text, PAGE) for text in found]


def _empty(base: Base, folder: Path, writer: str | None = "auto") -> Memory:
    shutil.rmtree(folder, ignore_errors=True)
    return Memory(folder, base=base, writer=writer)


def _show(found: dict[str, Any]) -> None:
    for name, title in (
        ("gate", "What is known, told from what isn't"),
        ("reading", "Facts read out of texts"),
        ("habits", "Habits told once, kept in later answers"),
        ("role habits", "Habits told once, kept in a role's answers"),
        ("nights", "Nights"),
        ("ways", "Ways of remembering, after the last night"),
        ("end", "Seen at the end"),
        ("documents", "Conversations told, questions on them"),
    ):
        if name in found:
            rows = found[name] if isinstance(found[name], list) else [found[name]]
            table(title, list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])
    err.print(found["machine"])


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
