"""Who speaks when a user is answered: the plugins of an agent, and conversations on which its manner is practised."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..base import Base
from ..core import GenerationRequest, Message, Use
from .everyday import Everyday, everyday
from .manner import Manner

TRAINED, CHECKED = 120, 16  # conversations, at most
ANSWER_TOKENS = 96
SEED = 13

Scene = tuple[Message, ...]  # a conversation in which the next word is the agent's


@dataclass(frozen=True, slots=True)
class Practice:
    """A conversation, what is to be answered in a manner, and the parts of the manner that the answer can show."""

    scene: Scene
    answer: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """What an agent speaks with.

    Attributes:
        stack: its plugins; none is the bare base.
        scenes: conversations as it has them, asked for when they are needed. The bare base has everyday ones.
    """

    stack: tuple[Use, ...] = ()
    scenes: Callable[[], Sequence[Scene]] = field(default=tuple)

    def key(self, base: Base) -> str:
        """Identifies what it computes; another version of a plugin is another voice."""
        return " ".join(f"{base.library.resolve(use.plugin).key}*{use.scale}" for use in self.stack)

    def shown(self, manner: Manner) -> tuple[str, ...]:
        """The parts of a manner that it can learn: whoever has plugins learns on answers of his own, as they are."""
        return manner.shown if self.stack else tuple(manner.parts)

    def practices(self, base: Base, manner: Manner) -> tuple[list[Practice], list[Practice]]:
        """Those to train on, and those that only check."""
        if not self.stack:
            taught, checked = everyday()
            return [_of(line, manner) for line in taught], [_of(line, manner) for line in checked[:CHECKED]]
        scenes = list(self.scenes()) or [_asked(line) for lines in everyday() for line in lines]
        scenes = random.Random(SEED).sample(scenes, min(len(scenes), TRAINED + CHECKED))
        rows = [
            Practice(tuple(_restyled(message, manner) for message in scene), manner.restyled(text), manner.shown)
            for scene, text in zip(scenes, said(base, scenes, self.stack), strict=True)
            if text
        ]
        apart = min(CHECKED, len(rows) // 4)
        return rows[apart:], rows[:apart]


def said(base: Base, scenes: Sequence[Scene], stack: Sequence[Use]) -> list[str]:
    """What is answered in some conversations."""
    requests = [GenerationRequest(scene, stack, max_tokens=ANSWER_TOKENS) for scene in scenes]
    return [reply.text.strip() for reply in base.generate(requests)]


def _asked(line: Everyday) -> Scene:
    return (Message(role="user", content=line.question),)


def _of(line: Everyday, manner: Manner) -> Practice:
    return Practice(_asked(line), manner.answer(line), manner.shown_by(line))


def _restyled(message: Message, manner: Manner) -> Message:
    if message.role != "assistant" or not message.content or message.tool_calls:
        return message
    return message.model_copy(update={"content": manner.restyled(message.content)})
