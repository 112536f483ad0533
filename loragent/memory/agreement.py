"""Whether an answer says what is remembered."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .fact import QA, Fact, Record, says
from .match import words
from .phrases import answer

MOST = 0.8  # of the words of an answer that was told, that another one has to say in their order
_SENTENCE, _WORD, _NUMBER = re.compile(r"[.!?]\s+"), re.compile(r"[^\W_]+"), re.compile(r"\d+")
_TURNS = frozenset(["no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot"])


def agrees(text: str, record: Record) -> bool:
    """Whether an answer says what a record holds: the value of a fact in its words; of an answer that was told most of
    the words in their order, with each name and number, none of its own, and no yes where a no was told.
    """
    told = record.told
    if isinstance(told, Fact):
        return says(text, told.value)
    wanted = answer(told)
    return says(text, wanted) or (isinstance(told, QA) and _says_most(text, told))


def rouge_l_recall(text: str, reference: str) -> float:
    """The share of a reference's words that stand in a text in their order (the longest common subsequence).

    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), R_lcs.
    """
    said, wanted = words(text), words(reference)
    return _common(said, wanted) / len(wanted) if wanted else 0.0


def rests_on(text: str, known: str) -> bool:
    """Whether all names and numbers of an answer stand in what it was read from."""
    return bool(text) and all(word == "I" or says(known, word) for word in _firm(text))


def _says_most(text: str, told: QA) -> bool:
    return (
        rouge_l_recall(text, told.answer) >= MOST
        and _turns(text) == _turns(told.answer)
        and rests_on(text, told.text)
        and rests_on(told.answer, f"{text} {told.question}")
    )


def _firm(text: str) -> list[str]:
    """The words that a slip would make another answer of: names, and numbers."""
    later = [word for sentence in _SENTENCE.split(text) for word in _WORD.findall(sentence)[1:]]
    return [word for word in later if word[:1].isupper()] + _NUMBER.findall(text)


def _turns(text: str) -> set[str]:
    """The words that turn it into its contrary."""
    said = words(text)
    return {word for word in said if word in _TURNS or word.endswith(("n't", "n\u2019t"))} | {*said[:1]} & {"yes"}


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for at, wanted in enumerate(other, 1):
            row.append(before[at - 1] + 1 if word == wanted else max(before[at], row[-1]))
    return row[-1]
