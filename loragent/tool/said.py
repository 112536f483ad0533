"""Whether somebody said what a call passes on.

A small model fills the gaps of a form with what it has read elsewhere: such a value must not reach a database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_OTHERWISE = {7: {"week"}, 14: {"fortnight", "weeks"}}
_ANYHOW = (1, 2)  # "just me", "my wife and I", "a night": there are too many ways to say them


def unsaid(arguments: Mapping[str, Any], names: Iterable[str], heard: str) -> list[str]:
    """Which of some arguments have a value that nobody said."""
    words = _words(heard)
    return [name for name in names if name in arguments and not _was_said(arguments[name], words)]


def _was_said(value: Any, words: set[str]) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, (int, float)):
        ways = {f"{value:g}"} | _OTHERWISE.get(int(value), set())
        if value in range(len(_NUMBERS)):
            ways.add(_NUMBERS[int(value)])
        return value in _ANYHOW or bool(ways & words)
    if isinstance(value, Mapping):
        return all(_was_said(inner, words) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(_was_said(inner, words) for inner in value)
    return _words(str(value)) <= words


def _words(text: str) -> set[str]:
    """Lower case, "4th" as "4"."""
    return {re.sub(r"(?<=\d)(st|nd|rd|th)$", "", word) for word in re.findall(r"\w+", text.lower())}
