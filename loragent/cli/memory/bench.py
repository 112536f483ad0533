"""The tables of ``loragent bench memory``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ...base import Base
from ...core import DataError, GenerationRequest, Message, Use
from ...memory import Fact, Match, Memory, Record
from ...memory.recall import agrees
from ..console import err, print_json, table, training_bar
from ..measure import machine
from ..open import open_base
from .world import World, misses, questions

PARTS = ("gate", "nights")
SESSION = 25  # facts that are told in one
MISSES = 200
TOKENS = 32


def bench_memory(folder: Path, parts: Sequence[str], sessions: int, seed: int, *, as_json: bool) -> None:
    """Measure the parts and show them."""
    if unknown := set(parts) - set(PARTS):
        raise DataError(folder, f"there is no part {', '.join(sorted(unknown))}", f"there are {', '.join(PARTS)}")
    found: dict[str, Any] = {}
    with open_base(None) as base:
        if "gate" in parts:
            found["gate"] = _gate(base, folder / "gate", seed)
        if "nights" in parts:
            found["nights"] = _nights(base, folder / "nights", sessions, seed)
    found["machine"] = machine()
    print_json(found) if as_json else _show(found)


def _gate(base: Base, folder: Path, seed: int) -> dict[str, float]:
    """How well what is known is told from what isn't, without any model but the embedder."""
    world = World(seed)
    facts = list(islice(world.facts(), 100))
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
        "auroc": auroc([_score(found) for found, _ in known], [_score(found) for found in strange]),
    }


def _nights(base: Base, folder: Path, sessions: int, seed: int) -> list[dict[str, Any]]:
    """Facts are told and slept over, session by session."""
    world, told, rows = World(seed), [], []
    facts = world.facts()
    memory = _empty(base, folder)
    for session in range(1, sessions + 1):
        today = list(islice(facts, SESSION))
        told += memory.remember(today)
        with training_bar() as bar:
            night = memory.sleep(on_step=bar)
        alone = _alone(base, memory, told)
        recalls = [(memory.ask(question), record) for record in told for question in _asked(record)]
        strange = [memory.ask(question) for question in misses(_facts(told), world.strangers, MISSES // 4)]
        rows.append(
            {
                "session": session,
                "facts": len(told),
                "sleep seconds": round(night.seconds, 1),
                "learned": len(night.learned),
                "in store": len(night.kept_in_store),
                "plugin alone": sum(alone) / len(alone),
                "first session": sum(alone[: 2 * SESSION]) / (2 * SESSION),
                "memory": sum(agrees(recall.text, record) for recall, record in recalls) / len(recalls),
                "from plugin": sum(recall.source == "plugin" for recall, _ in recalls) / len(recalls),
                "false answers": sum(recall.source != "none" for recall in strange) / len(strange),
                "harm": night.harm,
                "refused": "; ".join(night.reasons),
            }
        )
        err.print(rows[-1], soft_wrap=True)
    memory.close()
    return rows


def _alone(base: Base, memory: Memory, told: Sequence[Record]) -> list[bool]:
    """Whether the plugin that holds a record gives its value when asked, with nothing else in the prompt."""
    asked = [(record, question) for record in told for question in _asked(record)]
    replies = base.generate(
        [
            GenerationRequest(
                [Message(role="user", content=question)],
                [Use(plugin.path)] if (plugin := memory.holder(record)) is not None else [],
                max_tokens=TOKENS,
            )
            for record, question in asked
        ]
    )
    return [agrees(reply.text, record) for (record, _), reply in zip(asked, replies, strict=True)]


def auroc(known: Sequence[float], unknown: Sequence[float]) -> float:
    """The share of pairs in which what is known has the higher score; ties count half."""
    wins = sum((k > u) + (k == u) / 2 for k in known for u in unknown)
    return wins / (len(known) * len(unknown))


def _score(found: Match | None) -> float:
    return found.score if found is not None else 0.0


def _asked(record: Record) -> list[str]:
    assert isinstance(record.told, Fact)
    return questions(record.told)


def _facts(records: Sequence[Record]) -> list[Fact]:
    return [record.told for record in records if isinstance(record.told, Fact)]


def _empty(base: Base, folder: Path) -> Memory:
    shutil.rmtree(folder, ignore_errors=True)
    return Memory(folder, base=base)


def _show(found: dict[str, Any]) -> None:
    if "gate" in found:
        gate = found["gate"]
        table("What is known, told from what isn't", list(gate), [[f"{value:.3g}" for value in gate.values()]])
    if "nights" in found:
        rows = found["nights"]
        cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
        table("Nights", list(rows[0]), cells)
    err.print(found["machine"])
