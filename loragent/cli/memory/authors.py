"""Questions on invented authors (TOFU, MIT, see ``--authors``), told with their answers and asked as they were told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...base import Base
from ...core import DataError, GenerationRequest, Message, Use
from ...learning import row_of
from ...memory import QA, Memory
from ...memory.agreement import rouge_l_recall
from ...memory.evidence import harm
from ...memory.memory import PLUGINS
from ...memory.slot import slots
from ..console import training_bar
from .rivals import LINES, Ask, nothing, top_k
from .score import mean

AUTHORS, CONTROLS = "test_authors.jsonl", "retention_controls.jsonl"
TOKENS = 96  # of an answer; the longest that is told has 86
SHORT = 32  # of one to a question on the world
SAMPLE = 100  # questions that the memory as a whole is asked, one by one


def authors(base: Base, memory: Memory, data: Path, file: str = AUTHORS) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row for each way of answering, with the ROUGE-L recall of its answers; and what else was seen.

    Args:
        file: of the authors that are told, in ``data``.
    """
    told, controls = _rows(data / file), _rows(data / CONTROLS)
    records = memory.remember(told)
    with training_bar() as bar:
        night = memory.sleep(on_step=bar)
    holding = _holding(base, memory)
    ways = [_whole(base, memory, told)]
    for name, ask in (
        ("plugin alone", _alone(memory, holding)),
        (f"store, {LINES} lines", top_k(memory, LINES, TOKENS)),
        ("no memory", lambda question: nothing(question, TOKENS)),
    ):
        replies = base.generate([ask(qa.question) for qa in told])
        texts, tokens = [reply.text for reply in replies], [reply.usage.prompt_tokens for reply in replies]
        ways.append(_way(name, told, texts, [n - bare for n, bare in zip(tokens, _bare(base, told), strict=True)]))
    plugins = list(dict.fromkeys(holding.values()))
    return ways, {
        "seconds": night.seconds,
        "slots": len(plugins),
        "proved": len(night.learned) / len(records),
        "refused": "; ".join(night.reasons),
        **_on_controls(base, memory, controls, plugins[-1] if plugins else None),
    }


def _holding(base: Base, memory: Memory) -> dict[int, Use]:
    """By the ids of records, the plugins that were trained on them, whether they proved to know them or not."""
    asked = [(slot.asked, slot.registry()) for slot in slots(memory.folder / PLUGINS, base.fingerprint)]
    return {number: use for use, registry in asked if use is not None for number in registry.trained}


def _alone(memory: Memory, holding: dict[int, Use]) -> Ask:
    """The plugin that was trained on what is nearest to a question, with nothing in the prompt."""

    def ask(question: str) -> GenerationRequest:
        stack = [holding[hit.record.id] for hit in memory.search(question, 1) if hit.record.id in holding]
        return GenerationRequest([Message(role="user", content=question)], stack, max_tokens=TOKENS)

    return ask


def _whole(base: Base, memory: Memory, told: Sequence[QA]) -> dict[str, Any]:
    told = told[:: max(1, len(told) // SAMPLE)][:SAMPLE]
    recalls = [memory.ask(qa.question) for qa in told]
    spent = [recall.usage.prompt_tokens if recall.source == "store" else None for recall in recalls]
    tokens = [n - bare if n is not None else 0 for n, bare in zip(spent, _bare(base, told), strict=True)]
    by_plugin = mean(recall.source == "plugin" for recall in recalls)
    return _way("memory", told, [recall.text for recall in recalls], tokens) | {"from plugin": by_plugin}


def _way(name: str, told: Sequence[QA], texts: Sequence[str], tokens: Sequence[int]) -> dict[str, Any]:
    """
    Args:
        tokens: of each prompt, beyond the question.
    """
    return {
        "way": name,
        "questions": len(told),
        "rouge-l recall": mean(rouge_l_recall(text, qa.answer) for text, qa in zip(texts, told, strict=True)),
        "prompt tokens": mean(tokens),
        "from plugin": float(name == "plugin alone"),
    }


def _bare(base: Base, told: Sequence[QA]) -> list[int]:
    return [base.count_tokens(nothing(qa.question)) for qa in told]


def _on_controls(base: Base, memory: Memory, controls: Sequence[QA], newest: Use | None) -> dict[str, float]:
    """What the newest plugin does to questions that nobody told; and how often the memory takes one for its own."""
    asked = [Message(role="user", content=qa.question) for qa in controls]
    said = [Message(role="assistant", content=qa.answer) for qa in controls]

    def right(stack: Sequence[Use]) -> float:
        replies = base.generate([GenerationRequest([message], stack, max_tokens=SHORT) for message in asked])
        return mean(rouge_l_recall(reply.text, qa.answer) for reply, qa in zip(replies, controls, strict=True))

    found = {
        "controls, false answers": mean(memory.ask(qa.question).source != "none" for qa in controls),
        "controls, rouge-l bare": right([]),
    }
    if newest is not None:
        rows = [row_of(base.template, pair) for pair in zip(asked, said, strict=True)]
        mounted = Use(newest.plugin)
        found["controls, rouge-l mounted"] = right([mounted])
        found["controls, perplexity"] = harm(base, mounted, rows)
    return found


def _rows(path: Path) -> list[QA]:
    try:
        rows = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
        return [QA(question=asked["content"], answer=said["content"]) for asked, said in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"can't be read: {error}", "point --authors at the folder tofu_memory") from error
