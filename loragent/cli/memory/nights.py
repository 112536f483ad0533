"""An invented world told session by session, with a night behind each, and what is remembered of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from ...base import Base
from ...core import GenerationRequest, Message, Recall, TrainingRow, Use
from ...memory import Memory, Night, Record
from ...memory.agreement import agrees
from ...memory.evidence import harm
from ...memory.recall import UNKNOWN
from ..console import err, training_bar
from .life import Life, asked
from .rivals import LINES, TOKENS, in_prompt, nothing, recalled, top_k
from .score import mean
from .signals import aurocs

SAMPLE = 100  # questions that the memory as a whole is asked, one by one, and other ways of remembering
TIMED = 15


def nights(
    life: Life, sessions: int, texts: Sequence[TrainingRow]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """A row for each night, one for each way of remembering, and what else was seen at the end.

    Args:
        texts: general text that nobody has trained on.
    """
    rows = []
    for session in range(1, sessions + 1):
        changed = life.tell()
        stale = _stale(life, changed)
        with training_bar() as bar:
            night = life.memory.sleep(on_step=bar)
        rows.append(_night_row(life, session, night, stale, _stale(life, changed)))
        err.print(rows[-1], soft_wrap=True)
    ways = _ways(life)
    return rows, ways, _end(life, texts)


def alone(base: Base, memory: Memory, pairs: Sequence[tuple[Record, str]]) -> list[bool]:
    """Whether the plugin that holds a record gives its value when asked, with nothing else in the prompt."""
    replies = base.generate([_bare(question, memory, record) for record, question in pairs])
    return [agrees(reply.text, record) for (record, _), reply in zip(pairs, replies, strict=True)]


def _bare(question: str, memory: Memory, record: Record) -> GenerationRequest:
    use = memory.mounted_for(record)
    stack = [use] if use is not None else []
    return GenerationRequest([Message(role="user", content=question)], stack, max_tokens=TOKENS)


def _stale(life: Life, changed: Sequence[tuple[Record, Record]]) -> int:
    """How often what held before is said of facts that have changed."""
    return sum(agrees(life.memory.ask(question).text, before) for before, now in changed for question in asked(now))


def _night_row(life: Life, session: int, night: Night, at_once: int, after: int) -> dict[str, Any]:
    first = alone(life.base, life.memory, [(record, way) for record in life.first for way in asked(record)])
    return {
        "session": session,
        "facts": len(life.told),
        "seconds": round(night.seconds, 1),
        "learned": len(night.learned),
        "in store": len(night.kept_in_store),
        "first session": mean(first),
        "stale at once": at_once,
        "stale after": after,
        "harm": night.harm,
        "refused": "; ".join(night.reasons),
    }


def _ways(life: Life) -> list[dict[str, Any]]:
    """Each way of remembering on the same questions: of all facts, or of a sample for those that are asked singly."""
    pairs, strange, some = life.pairs, life.strange(SAMPLE), _some(life)
    held = [life.memory.ask(question) for _, question in some]
    unknown = [life.memory.ask(question) for question in strange]
    by_plugin = [recall for recall in held if recall.source == "plugin"]
    whole = {
        "way": "memory",
        "questions": len(some),
        "recall": mean(agrees(recall.text, record) for recall, (record, _) in zip(held, some, strict=True)),
        "false answers": mean(recall.source != "none" for recall in unknown),
        "prompt tokens": mean(_tokens(life, recall, way) for recall, (_, way) in zip(held, some, strict=True)),
        "from plugin": len(by_plugin) / len(held),
    }
    plugin = {"way": "plugin alone", "questions": len(pairs), "recall": mean(alone(life.base, life.memory, pairs))}
    plugin |= {"false answers": mean(_answered(life, strange)), "prompt tokens": 0.0, "from plugin": 1.0}
    rivals = [
        ("no memory", nothing),
        ("everything in the prompt", in_prompt(life.records)),
        (f"store, {LINES} lines", top_k(life.memory, LINES)),
    ]
    return [whole, plugin, *(recalled(life.base, name, ask, some, strange) for name, ask in rivals)]


def _tokens(life: Life, recall: Recall, question: str) -> int:
    """Of the prompt, beyond the question."""
    return recall.usage.prompt_tokens - life.base.count_tokens(nothing(question)) if recall.source == "store" else 0


def _some(life: Life) -> list[tuple[Record, str]]:
    return life.pairs[:: max(1, len(life.pairs) // SAMPLE)][:SAMPLE]


def _newest(life: Life) -> Use | None:
    """The plugin of the newest record that one holds, as it is asked."""
    found = (life.memory.mounted_for(record) for record in reversed(life.records))
    return next((use for use in found if use is not None), None)


def _answered(life: Life, strange: Sequence[str]) -> Iterator[bool]:
    newest = _newest(life)
    stack = [newest] if newest is not None else []
    requests = [GenerationRequest([Message(role="user", content=q)], stack, max_tokens=TOKENS) for q in strange]
    return (reply.text.strip() != UNKNOWN for reply in life.base.generate(requests))


def _end(life: Life, texts: Sequence[TrainingRow]) -> dict[str, Any]:
    """What else is asked of a memory when all was told: its harm, its gate, its speed, and to forget."""
    newest = _newest(life)
    found: dict[str, Any] = _first_token(life)
    found |= aurocs(life, [question for _, question in _some(life)], life.strange(SAMPLE), newest)
    if texts and newest is not None:
        found["harm on texts"] = harm(life.base, Use(newest.plugin), texts)
        found["harm on texts, as loud as it is asked"] = harm(life.base, newest, texts)
    victim = life.first[0]
    life.memory.forget(victim)
    after = [life.memory.ask(question).text for question in asked(victim)]
    weights = alone(life.base, life.memory, [(victim, question) for question in asked(victim)])
    found["forgotten said"] = sum(agrees(text, victim) for text in after) + sum(weights)
    return found


def _first_token(life: Life) -> dict[str, float]:
    """Medians, interleaved: milliseconds to the first token from the plugin, and with the store's lines before it; both
    as of a question that nobody has asked before.
    """
    store, plugin, other = top_k(life.memory, LINES), list[float](), list[float]()
    for record, question in life.pairs[:TIMED]:
        for request, times in ((_bare(question, life.memory, record), plugin), (store(question), other)):
            life.base.forget()  # keys and values of the same prompt, from the tables before
            times.append(life.base.generate(request)[0].usage.first_token_ms)
    a, b = statistics.median(plugin), statistics.median(other)
    return {"first token, plugin, ms": a, "first token, store, ms": b, "first token, ratio": a / b}
