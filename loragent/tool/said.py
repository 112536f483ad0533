"""Whether somebody said what a call passes on.

A small model fills the gaps of a form with what it has read elsewhere: such a value must not reach a database.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..core import Message

_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_OTHERWISE = {7: {"week"}, 14: {"fortnight", "weeks"}}
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DAY = re.compile(rf"\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}\b|\b{_MONTH} (?:the )?\d{{1,2}}(?:st|nd|rd|th)?\b")
_ANYHOW = (1, 2)  # "just me", "my wife and I", "a night": there are too many ways to say them

_YES = re.compile(r"y(e+[ahps]*|se|h|up)|ok(ay)?|correct|confirm(ed)?|agreed")
_YES_AT_FIRST = {
    "absolutely", "aye", "do", "exactly", "fine", "go", "good", "great", "k", "lovely", "perfect", "please",
    "precisely", "right", "sure", "wonderful", "y", "ya",
}  # fmt: skip
_BUT = {"no", "not", "nope", "don", "wrong", "instead", "rather", "wait", *_NUMBERS}  # "yes, but for four nights"


def heard_in(messages: Sequence[Message]) -> str:
    """What the user said, and the questions to which he answered yes: what was read back to him counts as said."""
    agreed = [first.content for first, then in pairwise(messages) if _agrees(first, then)]
    return "\n".join([*agreed, *(message.content for message in messages if message.role == "user")])


def _agrees(asked: Message, answer: Message) -> bool:
    words = _words(answer.content)
    yes = any(map(_YES.fullmatch, words)) or not _YES_AT_FIRST.isdisjoint(words[:1])
    plain = _BUT.isdisjoint(words) and not any(word.isdigit() for word in words)
    question = asked.role == "assistant" and asked.content.rstrip().endswith("?")
    return question and answer.role == "user" and yes and plain


def unsaid(arguments: Mapping[str, Any], names: Iterable[str], heard: str) -> list[str]:
    """Which of some arguments have a value that nobody said."""
    words = set(_words(heard))
    # "from 4 April" says nothing of four nights; nor does "four of us", once that is the guests.
    numbers = Counter(_words(_DAY.sub(" ", heard.lower())))
    return [name for name in names if name in arguments and not _was_said(arguments[name], words, numbers)]


def _was_said(value: Any, words: set[str], numbers: Counter[str]) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, (int, float)):
        return value in _ANYHOW or _taken(value, numbers)
    if isinstance(value, Mapping):
        return all(_was_said(inner, words, numbers) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(_was_said(inner, words, numbers) for inner in value)
    return words.issuperset(_words(str(value)))


def _taken(value: float, numbers: Counter[str]) -> bool:
    """Whether a number was said once more than it was needed so far."""
    ways = {f"{value:g}"} | _OTHERWISE.get(int(value), set())
    if value in range(len(_NUMBERS)):
        ways.add(_NUMBERS[int(value)])
    said = next((way for way in ways if numbers[way] > 0), None)
    if said is not None:
        numbers[said] -= 1
    return said is not None


def _words(text: str) -> list[str]:
    """Lower case, "4th" as "4"."""
    return [re.sub(r"(?<=\d)(st|nd|rd|th)$", "", word) for word in re.findall(r"\w+", text.lower())]
