"""The tables of ``loragent bench memory``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from .authors import authors
from .documents import documents
from .habits import habits, role_habits
from .life import Life
from .naive import naive
from .nights import nights
from .reading import reading
from .score import auroc, nearness
from .world import World, misses, questions

KNOWN, MISSES = 100, 200  # facts that are told for the gate, and questions that none of them answers
ROLE = Path("roles/concierge")  # whose answers are to keep to a user's habits
PAGE = 200  # tokens of each text that are read
TITLES = {
    "gate": "What is known, told from what isn't",
    "reading": "Facts read out of texts",
    "habits": "Habits told once, kept in later answers",
    "role habits": "Habits told once, kept in a role's answers",
    "nights": "Nights",
    "ways": "Ways of remembering, after the last night",
    "end": "Seen at the end",
    "naive": "Other ways of learning, after the last session",
    "authors": "Answers told, asked for as they were told",
    "authors, else": "Of the plugins that hold them",
    "documents": "Conversations told, questions on them",
}
Found = dict[str, Any]  # tables by their names


@dataclass(frozen=True, slots=True)
class Setup:
    """What the benchmark runs on.

    Attributes:
        folder: of the memories.
        sessions, seed, facts: of the invented world, so many told in each session.
        texts: a file of general texts; by how much its perplexity rises is told too.
        documents: the folder of the conversations that are told in the part of this name.
        authors: the folder of the questions that are told in the part of this name.
    """

    folder: Path
    sessions: int = 5
    seed: int = 1
    facts: int = 25
    texts: Path | None = None
    documents: Path | None = None
    authors: Path | None = None


def bench_memory(setup: Setup, parts: Sequence[str], *, as_json: bool = False) -> None:
    """Measure the parts and show each when it is done."""
    if unknown := set(parts) - set(PARTS):
        there = ", ".join(PARTS)
        raise DataError(setup.folder, f"there is no part {', '.join(sorted(unknown))}", f"there are {there}")
    for part, folder, option, of in (
        ("documents", setup.documents, "--data", "bfcl_memory"),
        ("authors", setup.authors, "--authors", "tofu_memory"),
    ):
        if part in parts and folder is None:
            raise DataError(setup.folder, f"the part {part} needs data", f"point {option} at {of}")
    found: Found = {}
    with open_base(None) as base:
        pages = _read(setup.texts, base)  # what can't be read is said before anything is measured
        for part in parts:
            seen = PARTS[part](base, setup, pages)
            found |= seen
            if not as_json:
                _show(seen)
    if as_json:
        print_json(found | {"machine": machine()})
    else:
        err.print(machine())


def _gate(base: Base, setup: Setup, pages: Sequence[TrainingRow]) -> Found:
    """How well what is known is told from what isn't, without any model but the embedder."""
    del pages
    world = World(setup.seed)
    facts = list(islice(world.facts(), KNOWN))
    with _empty(base, setup.folder / "gate") as memory:
        memory.remember(facts)
        asked = [(question, fact) for fact in facts for question in questions(fact)]
        unknown = misses(facts, world.strangers, MISSES)
        known = [(memory.match(question), fact) for question, fact in asked]
        strange = [memory.match(question) for question in unknown]
    right = [found is not None and found.known and found.record.text == fact.text for found, fact in known]
    gate = {
        "questions": len(asked),
        "matched": sum(right) / len(right),
        "unknown": len(unknown),
        "taken for known": sum(found is not None and found.known for found in strange) / len(strange),
        "auroc": auroc([nearness(found) for found, _ in known], [nearness(found) for found in strange]),
    }
    return {"gate": gate}


def _reading(base: Base, setup: Setup, pages: Sequence[TrainingRow]) -> Found:
    del setup, pages
    return {"reading": reading(base)}


def _habits(base: Base, setup: Setup, pages: Sequence[TrainingRow]) -> Found:
    del pages
    with _empty(base, setup.folder / "habits", writer=None) as memory:
        found = habits(base, memory, setup.seed)
    with _empty(base, setup.folder / "role-habits", writer=None) as memory:
        return {"habits": found, "role habits": role_habits(base, memory, ROLE)}


def _nights(base: Base, setup: Setup, pages: Sequence[TrainingRow]) -> Found:
    with _empty(base, setup.folder / "nights") as memory:
        rows, ways, end = nights(_life(base, memory, setup), setup.sessions, pages)
    return {"nights": rows, "ways": ways, "end": end}


def _naive(base: Base, setup: Setup, pages: Sequence[TrainingRow]) -> Found:
    plugins = setup.folder / "naive-plugins"
    with _empty(base, setup.folder / "naive") as memory:
        return {"naive": naive(_life(base, memory, setup), setup.sessions, plugins, pages)}


def _life(base: Base, memory: Memory, setup: Setup) -> Life:
    return Life(base, memory, World(setup.seed), setup.facts)


def _authors(base: Base, setup: Setup, pages: Sequence[TrainingRow]) -> Found:
    del pages
    assert setup.authors is not None
    with _empty(base, setup.folder / "authors") as memory:
        ways, end = authors(base, memory, setup.authors)
    return {"authors": ways, "authors, else": end}


def _documents(base: Base, setup: Setup, pages: Sequence[TrainingRow]) -> Found:
    del pages
    assert setup.documents is not None
    with _empty(base, setup.folder / "documents", writer=None) as memory:  # as notes, each as it was said
        return {"documents": documents(base, memory, setup.documents)}


PARTS: Mapping[str, Callable[[Base, Setup, Sequence[TrainingRow]], Found]] = {
    "gate": _gate,
    "reading": _reading,
    "habits": _habits,
    "nights": _nights,
    "naive": _naive,
    "authors": _authors,
    "documents": _documents,
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


def _show(found: Found) -> None:
    for name, seen in found.items():
        rows = seen if isinstance(seen, list) else [seen]
        table(TITLES[name], list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
