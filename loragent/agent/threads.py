"""Conversations kept apart, and trimmed to the context by whole turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core import Message

DEFAULT = "default"


Key = tuple[str, str]  # a user, "" if nobody says who he is, and a thread of his


class Threads:
    """The histories of one agent; two users' are two, whatever their threads are called."""

    def __init__(self) -> None:
        self._histories: dict[Key, tuple[Message, ...]] = {}

    def get(self, thread: Key) -> tuple[Message, ...]:
        """A thread's history, oldest first; empty for a new thread."""
        return self._histories.get(thread, ())

    def put(self, thread: Key, history: Sequence[Message]) -> None:
        """Replace a thread's history."""
        self._histories[thread] = tuple(history)

    def clear(self, thread: Key) -> None:
        """Forget a thread."""
        self._histories.pop(thread, None)


def trim(messages: Sequence[Message], limit: int, count: Callable[[Sequence[Message]], int]) -> tuple[Message, ...]:
    """Drop the oldest turns until the rest fits; a turn begins with a user message and is dropped whole.

    A system message in front and the newest turn always stay.

    Args:
        limit: tokens that the rendered conversation may take.
        count: tokens of a conversation.
    """
    lead = tuple(m for m in messages[:1] if m.role == "system")
    turns = _turns(messages[len(lead) :])
    while len(turns) > 1 and count((*lead, *_joined(turns))) > limit:
        turns.pop(0)
    return (*lead, *_joined(turns))


def _turns(messages: Sequence[Message]) -> list[tuple[Message, ...]]:
    turns: list[tuple[Message, ...]] = []
    for message in messages:
        if message.role == "user" or not turns:
            turns.append((message,))
        else:
            turns[-1] = (*turns[-1], message)
    return turns


def _joined(turns: Sequence[tuple[Message, ...]]) -> tuple[Message, ...]:
    return tuple(message for turn in turns for message in turn)
