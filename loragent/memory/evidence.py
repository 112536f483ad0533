"""What a memory's plugin proves to know, how sure it is when it does, and what it costs the base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..base import Base
from ..core import GenerationRequest, Message, RowScore, TrainingRow, Use
from ..learning import row_of
from .agreement import agrees
from .fact import Fact, Record, says
from .phrases import answer, checking
from .recall import tokens_for

CHECK_TOKENS = 32  # of an answer to a question that nothing answers


def known_by(base: Base, plugin: Use, records: Sequence[Record]) -> frozenset[int]:
    """Ids of the records that a plugin knows, whichever of two ways never trained it is asked in.

    Where each token of the told answer is the likeliest, it is what would be said: one pass shows it. Only the others
    are asked for their own words.
    """
    asked = [(record, way) for record in records for way in checking(record.told)]
    scores = _scored(base, plugin, [(way, answer(record.told)) for record, way in asked])
    other = [pair for pair, score in zip(asked, scores, strict=True) if score.hits < score.tokens]
    said = said_by(base, plugin, [(way, tokens_for(base, record)) for record, way in other])
    wrong = {record.id for (record, _), text in zip(other, said, strict=True) if not agrees(text, record)}
    return frozenset(record.id for record, _ in asked) - wrong


def least_sure(base: Base, plugin: Use, records: Sequence[Record], strange: Sequence[str]) -> float:
    """The probability a token, from which an answer is believed: what parts right answers best from what it says of
    somebody who was asked for something else, and that happens to be true of them.

    What isn't true of them is never believed, however sure the plugin is; so it plays no part here.

    Args:
        records: that the plugin knows.
        strange: questions on what was never told, and that it wasn't trained to decline.
    """
    right = sure_of(base, plugin, [(way, answer(r.told)) for r in records for way in checking(r.told)[:1]])
    said = zip(strange, said_by(base, plugin, [(question, CHECK_TOKENS) for question in strange]), strict=True)
    misplaced = [(q, text) for q, text in said if any(_is_of(r, q) and agrees(text, r) for r in records)]
    return parting(right, sure_of(base, plugin, misplaced))


def _is_of(record: Record, question: str) -> bool:
    return isinstance(record.told, Fact) and says(question, record.told.subject)


def parting(right: Sequence[float], wrong: Sequence[float]) -> float:
    """The lowest threshold with the smallest sum of both shares on the wrong side of it."""

    def missed(least: float) -> float:
        return _share(p < least for p in right) + _share(p >= least for p in wrong)

    return min([0.0, *sorted(right)], key=missed)


def harm(
    base: Base,
    plugin: Path | Use,
    rows: Sequence[TrainingRow],
    alone: Sequence[RowScore] | None = None,
    beneath: Sequence[Use] = (),
) -> float:
    """By how much a plugin raises the perplexity of some rows, as a share.

    Args:
        alone: what is scored on them without it, where that is known already.
        beneath: what it is mounted on.
    """
    alone, mounted = alone or base.score(rows, beneath), base.score(rows, [*beneath, plugin])
    tokens = sum(score.tokens for score in alone)
    return math.exp(sum(b.nll - a.nll for a, b in zip(alone, mounted, strict=True)) / tokens) - 1


def said_by(base: Base, plugin: Use, questions: Iterable[tuple[str, int]]) -> list[str]:
    """What a plugin answers to questions, in so many tokens each."""
    requests = [
        GenerationRequest([Message(role="user", content=question)], [plugin], max_tokens=tokens)
        for question, tokens in questions
    ]
    return [reply.text.strip() for reply in base.generate(requests)]


def sure_of(base: Base, plugin: Use, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The probability that a plugin gives to each answer to a question, a token on average."""
    return [math.exp(-score.nll / score.tokens) for score in _scored(base, plugin, pairs)]


def _scored(base: Base, plugin: Use, pairs: Sequence[tuple[str, str]]) -> list[RowScore]:
    """Of each answer to a question."""
    rows = [
        row_of(base.template, (Message(role="user", content=asked), Message(role="assistant", content=said)))
        for asked, said in pairs
    ]
    return base.score(rows, [plugin]) if rows else []


def _share(those: Iterable[bool]) -> float:
    found = list(those)
    return sum(found) / len(found) if found else 0.0
