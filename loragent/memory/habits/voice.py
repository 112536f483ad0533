"""Who speaks when a user is answered: the plugins of an agent, and conversations on which a manner is practised."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...base import Base
from ...core import GenerationRequest, Message, Reply, Use
from ...learning import digest_of
from .everyday import Everyday, everyday
from .manner import Manner

TRAINED, CHECKED = 200, 16  # conversations, at most
FEW = 40  # of a role's own, below which everyday ones are added
ANSWER_TOKENS = 96
SEED = 13

Scene = tuple[Message, ...]  # a conversation in which the next word is the agent's


@dataclass(frozen=True, slots=True)
class Practice:
    """A conversation, what is to be answered in a manner, and the parts of the manner that the answer can show."""

    scene: Scene
    answer: Message
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

    def resolved(self, base: Base) -> tuple[str, Voice]:
        """A key for what it computes, and the voice with just these versions: what is published meanwhile is another.

        Raises:
            PluginNotFound, PluginRefused: a plugin of it can't be used.
        """
        plugins = [(base.library.resolve(use.plugin), use.scale) for use in self.stack]
        stack = tuple(Use(plugin.path, scale=scale) for plugin, scale in plugins)
        return " ".join(f"{plugin.key}*{scale}" for plugin, scale in plugins), Voice(stack, self.scenes)

    def shown(self, manner: Manner) -> tuple[str, ...]:
        """The parts of a manner that it can learn: whoever has plugins learns on answers of his own, as they are."""
        return manner.shown if self.stack else tuple(manner.parts)

    def practices(self, base: Base, manner: Manner) -> tuple[list[Practice], list[Practice]]:
        """Those to train on, and those that only check."""
        taught, checked = everyday()
        if not self.stack:
            return [_of(line, manner) for line in taught], [_of(line, manner) for line in checked[:CHECKED]]
        scenes = list({digest_of([scene]): scene for scene in self.scenes()}.values())
        if len(scenes) < FEW:
            scenes += [_asked(line) for line in (*taught, *checked)]
        scenes = random.Random(SEED).sample(scenes, min(len(scenes), TRAINED + CHECKED))
        own = [
            practice
            for scene, reply in zip(scenes, said(base, scenes, self.stack), strict=True)
            if (practice := _own(scene, reply, manner)) is not None
        ]
        apart = min(CHECKED, len(own) // 4)
        return own[apart:], own[:apart]


def said(base: Base, scenes: Sequence[Scene], stack: Sequence[Use]) -> list[Reply]:
    """What is answered in some conversations."""
    return base.generate([GenerationRequest(scene, stack, max_tokens=ANSWER_TOKENS) for scene in scenes])


def _asked(line: Everyday) -> Scene:
    return (Message(role="user", content=line.question),)


def _of(line: Everyday, manner: Manner) -> Practice:
    return Practice(
        _asked(line), Message(role="assistant", content=manner.answer(line)), manner.shown_by(line.measured)
    )


def _own(scene: Scene, reply: Reply, manner: Manner) -> Practice | None:
    """What was answered, restyled; a call stays as it is. None of what was cut off, or said nothing."""
    heard = tuple(_heard(message, manner) for message in scene)
    if reply.finish != "stop":
        return None
    if reply.tool_calls:
        return Practice(heard, reply.as_message(), ())
    text = reply.text.strip()
    return Practice(heard, Message(role="assistant", content=manner.restyled(text)), manner.shown) if text else None


def _heard(message: Message, manner: Manner) -> Message:
    """An earlier turn: the agent had this manner then, too. There is no loss on it."""
    if message.role != "assistant":
        return message
    words = message.content if message.tool_calls else manner.restyled(message.content)
    return message.model_copy(update={"content": words, "trained": False})
