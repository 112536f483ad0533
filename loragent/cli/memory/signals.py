"""What tells a question that is known from one that isn't: three signals, and the gate that they make together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...core import Use
from ...memory.agreement import agrees
from ...memory.evidence import said_by, sure_of
from .life import Life
from .rivals import TOKENS
from .score import auroc, nearness


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
    """Of each question; nothing is said without a plugin."""
    matches = [life.memory.match(question) for question in questions]
    plugins = [(life.memory.mounted_for(match.record) if match is not None else None) or newest for match in matches]
    said, sure = [""] * len(questions), [0.0] * len(questions)
    for plugin in {plugin for plugin in plugins if plugin is not None}:
        numbers = [n for n, other in enumerate(plugins) if other == plugin]
        asked = [questions[n] for n in numbers]
        texts = said_by(life.base, plugin, [(question, TOKENS) for question in asked])
        chances = sure_of(life.base, plugin, list(zip(asked, texts, strict=True)))
        for n, text, chance in zip(numbers, texts, chances, strict=True):
            said[n], sure[n] = text, chance
    return [
        _Signals(nearness(match), chance, float(match is not None and agrees(text, match.record)))
        for match, chance, text in zip(matches, sure, said, strict=True)
    ]
