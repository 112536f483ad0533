"""The one scorer: how good an assistant turn is against its reference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from ..core import Message, ToolCall

MATCH = 0.6  # similarity from which a reply counts as the reference's
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_NOT_WORD = re.compile(r"[^\w\s]|_")


@dataclass(frozen=True, slots=True)
class TurnScore:
    """Marks of one generated turn.

    Attributes:
        match: a call of the same name where the reference calls; else no call, and similarity of at least 0.6.
        call_exact: name and every argument; None where the reference calls nothing.
        action: the labelled action was taken (see :func:`score_turn`); None without label information.
    """

    match: bool
    call_exact: bool | None
    action: bool | None


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """Lower case, no punctuation, single blanks."""
    return " ".join(_NOT_WORD.sub(" ", text.lower()).split())


@lru_cache(maxsize=65536)
def similarity(a: str, b: str) -> float:
    """Ratcliff-Obershelp ratio of the normalised texts, 0 to 1 (Python's difflib, without its junk heuristic)."""
    left, right = normalise(a), normalise(b)
    if not left and not right:
        return 1.0
    return SequenceMatcher(None, left, right, autojunk=False).ratio()


def nearest_reply(text: str, replies: Mapping[str, str]) -> str:
    """The label whose template is most like the text; placeholders in braces are left out of the comparison."""
    return max(replies, key=lambda label: similarity(text, _PLACEHOLDER.sub("", replies[label])))


def score_turn(
    text: str,
    calls: Sequence[ToolCall],
    reference: Message,
    *,
    label: str | None = None,
    replies: Mapping[str, str] | None = None,
) -> TurnScore:
    """Mark one turn.

    The action is right if, for a call, its name is right; for a reply with a label that has a template, the
    nearest template is the labelled one *and* the similarity with the reference is at least 0.6; for any other
    reply, that similarity alone.

    Args:
        label: the action of the reference turn.
        replies: the role's reply templates by label; None means that actions are not scored.
    """
    names = [call.name for call in calls]
    if reference.tool_calls:
        wanted = list(reference.tool_calls)
        named = names == [call.name for call in wanted]
        exact = named and [c.arguments for c in calls] == [c.arguments for c in wanted]
        return TurnScore(named, exact, named if replies is not None else None)
    match = not calls and similarity(text, reference.content) >= MATCH
    action = None
    if replies is not None:
        action = match and (label not in replies or nearest_reply(text, replies) == label)
    return TurnScore(match, None, action)


def rates(scores: Sequence[TurnScore]) -> dict[str, float | None]:
    """``reply_match``, ``call_exact`` and ``action`` of many turns, as shares; None where no turn has that mark."""
    marks: dict[str, list[bool | None]] = {
        "reply_match": [s.match for s in scores],
        "call_exact": [s.call_exact for s in scores],
        "action": [s.action for s in scores],
    }
    return {name: _share([mark for mark in found if mark is not None]) for name, found in marks.items()}


def _share(marks: Sequence[bool]) -> float | None:
    return sum(marks) / len(marks) if marks else None
