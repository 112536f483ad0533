"""What an agent does with its memory: asks it, answers users in their manner, notes what they mention."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

from ..base import Base
from ..core import Generator, LoragentError, Message, Use
from ..memory import Memory, Scope, Voice
from . import turn


class Remembering:
    """An agent's side of a memory; without one, nothing is asked, known or noted.

    Args:
        voice: the agent's, which nights can teach a manner; None where it has none to be taught.
        notes: whether what users mention is noted.
    """

    def __init__(self, memory: Memory | None, voice: Voice | None, *, notes: bool) -> None:
        self.memory, self._voice, self._notes = memory, voice, notes

    def introduce(self, base: Base | Generator) -> None:
        """Tell the memory whose voice its nights may teach."""
        if self.memory is not None and self._voice is not None:
            self.memory.hear(self._voice, base)

    def consult(self, with_whom: Scope) -> turn.Consult | None:
        """How a turn asks the memory."""
        if self.memory is None:
            return None
        user, agent, thread = with_whom.user, with_whom.agent, with_whom.thread
        return partial(self.memory.consult, user=user, agent=agent, thread=thread, voice=self._voice)

    def manner(self, user: str) -> tuple[Use, ...]:
        """What makes the agent answer as a user wants to be answered."""
        if self.memory is None or self._voice is None or not user:
            return ()
        plugin = self.memory.manner(user, self._voice)
        return (Use(plugin.path),) if plugin is not None else ()

    def log(self, messages: Sequence[Message], with_whom: Scope) -> None:
        """Write a turn into the memory's log."""
        if self.memory is not None:
            told = {"messages": [message.to_wire() for message in messages]}
            self.memory.log("turn", told, user=with_whom.user, agent=with_whom.agent, thread=with_whom.thread)

    def noted(self, heard: str, with_whom: Scope) -> tuple[str, ...]:
        """Note the facts in what a user has said: of him, or of his thread where he has no name."""
        user, thread = with_whom.user, "" if with_whom.user else with_whom.thread
        if self.memory is None or not self._notes or not (user or thread):
            return ()
        try:
            return tuple(r.text for r in self.memory.notice(heard, source="user", user=user, thread=thread))
        except LoragentError as error:  # the answer is there
            warnings.warn(f"nothing was noted: {error}", stacklevel=4)
            return ()
