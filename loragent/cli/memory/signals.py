"""What tells a question that is known from one that isn't: three signals, and the gate that they make together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...core import GenerationRequest, Message, Use
from ...learning import row_of
from ...memory import Match
from ...memory.agreement import agrees
from .life import Life
from .score import auroc, nearness

TOKENS = 32


@dataclass(frozen=True, slots=True)
class _Signals:
    """
    Attributes:
        near: how near the question comes to what is known.
        sure: the probability of the plugin's answer, a token on average.
        same: whether it says what is known there.
    """

    near: float
    sure: float
    same: float


SIGNALS: Mapping[str, Callable[[_Signals], float]] = {
    "the registry": lambda seen: seen.near,
    "the token probability": lambda seen: seen.sure,
    "the agreement": lambda seen: seen.same,
    "the gate": lambda seen: seen.near * seen.sure * seen.same,
}


def aurocs(life: Life, known: Sequence[str], unknown: Sequence[str], newest: Use | None) -> dict[str, float]:
    """Of each signal alone, and of their product, between questions that are known and others.

    Args:
        newest: the plugin that is asked where a question is about nothing that one holds.
    """
    right, wrong = _signals(life, known, newest), _signals(life, unknown, newest)
    return {f"auroc of {name}": auroc([*map(read, right)], [*map(read, wrong)]) for name, read in SIGNALS.items()}


def _signals(life: Life, questions: Sequence[str], newest: Use | None) -> list[_Signals]:
    matches = [life.memory.match(question) for question in questions]
    plugins = [(life.memory.mounted_for(match.record) if match is not None else None) or newest for match in matches]
    stacks = [[plugin] if plugin is not None else [] for plugin in plugins]
    asked = [[Message(role="user", content=question)] for question in questions]
    requests = [GenerationRequest(m, stack, max_tokens=TOKENS) for m, stack in zip(asked, stacks, strict=True)]
    said = [reply.text.strip() for reply in life.base.generate(requests)]
    sure = _sure(life, questions, said, plugins)
    return [
        _Signals(nearness(match), probability, float(_agrees(text, match)))
        for match, probability, text in zip(matches, sure, said, strict=True)
    ]


def _agrees(text: str, match: Match | None) -> bool:
    return match is not None and agrees(text, match.record)


def _sure(life: Life, questions: Sequence[str], said: Sequence[str], plugins: Sequence[Use | None]) -> list[float]:
    """The probability of each answer with its plugin, a token on average."""
    places = defaultdict[Use | None, list[int]](list)
    for n, plugin in enumerate(plugins):
        places[plugin].append(n)
    found = [0.0] * len(said)
    for plugin, numbers in places.items():
        pairs = [
            (Message(role="user", content=questions[n]), Message(role="assistant", content=said[n])) for n in numbers
        ]
        rows = [row_of(life.base.template, pair) for pair in pairs]
        scores = life.base.score(rows, [plugin] if plugin is not None else [])
        for n, score in zip(numbers, scores, strict=True):
            found[n] = math.exp(-score.nll / score.tokens)
    return found
