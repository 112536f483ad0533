"""An agent: a name, a stack of plugins on the shared base, and its conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import GenerationRequest, Generator, Message, Reply, RoleError, Use, as_messages
from ..role import load_role
from .threads import DEFAULT, Threads, trim


class Agent:
    """Answers in a role.

    Args:
        name: who speaks.
        base: the shared base, or anything that generates.
        role: a role folder with a published plugin, or a plugin's name in the base's library.
        stack: further plugins on top of the role's.
        prompt: a system prompt, where a plugin is not enough (or not there).
        max_tokens: of an answer.
        temperature: 0 is greedy.
        top_p: nucleus mass.

    Raises:
        RoleError: the role has no published plugin.
    """

    def __init__(
        self,
        name: str,
        *,
        base: Base | Generator,
        role: str | Path | None = None,
        stack: Sequence[str | Path | Use] = (),
        prompt: str | None = None,
        max_tokens: int = 160,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> None:
        self.name, self.prompt = name, prompt
        self._base = base
        mounted = (_role_entry(base, role),) if role is not None else ()
        self.stack: tuple[Use, ...] = tuple(e if isinstance(e, Use) else Use(e) for e in (*mounted, *stack))
        self._settings: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
        self._threads = Threads()

    def __repr__(self) -> str:
        return f"Agent({self.name}, {' + '.join(use.plugin for use in self.stack) or 'bare base'})"

    def run(self, text: str, *, thread: str = DEFAULT, **settings: Any) -> Reply:
        """Answer a user message in a thread. If anything fails, the thread is as it was.

        Args:
            settings: of this answer only: ``max_tokens``, ``temperature``, ``top_p``, ``stop``, ``seed``.
        """
        request = self._next(text, thread, settings)
        return self._keep(thread, text, self._base.generate([request])[0])

    async def arun(self, text: str, *, thread: str = DEFAULT, **settings: Any) -> Reply:
        """:meth:`run` for asyncio; agents that are awaited together decode together."""
        request = self._next(text, thread, settings)
        return self._keep(thread, text, (await self._base.agenerate([request]))[0])

    def stream(self, text: str, *, thread: str = DEFAULT, **settings: Any) -> Iterator[str | Reply]:
        """Pieces of the answer as they come, then the reply."""
        for item in self._base.stream(self._next(text, thread, settings)):
            yield self._keep(thread, text, item) if isinstance(item, Reply) else item

    async def astream(self, text: str, *, thread: str = DEFAULT, **settings: Any) -> AsyncIterator[str | Reply]:
        """:meth:`stream` for asyncio."""
        async for item in self._base.astream(self._next(text, thread, settings)):
            yield self._keep(thread, text, item) if isinstance(item, Reply) else item

    def reply_to(self, messages: str | Sequence[Message | Mapping[str, Any]], **settings: Any) -> Reply:
        """Answer a conversation that somebody else keeps (a session); no thread is touched."""
        return replace(self._base.generate([self.request(as_messages(messages), settings)])[0], agent=self.name)

    async def areply_to(self, messages: str | Sequence[Message | Mapping[str, Any]], **settings: Any) -> Reply:
        """:meth:`reply_to` for asyncio."""
        replies = await self._base.agenerate([self.request(as_messages(messages), settings)])
        return replace(replies[0], agent=self.name)

    def history(self, thread: str = DEFAULT) -> tuple[Message, ...]:
        """A thread's messages, oldest first."""
        return self._threads.get(thread)

    def forget(self, thread: str = DEFAULT) -> None:
        """Begin a thread anew."""
        self._threads.clear(thread)

    def request(self, messages: Sequence[Message], settings: Mapping[str, Any]) -> GenerationRequest:
        """The request for the next turn of a conversation, trimmed to the context by whole turns."""
        chosen = {**self._settings, **settings}
        system = (Message(role="system", content=self.prompt),) if self.prompt else ()
        limit = self._base.context_length - chosen["max_tokens"]
        fitting = trim((*system, *messages), limit, lambda m: self._base.count_tokens(GenerationRequest(m)))
        return GenerationRequest(fitting, self.stack, **chosen)

    def _next(self, text: str, thread: str, settings: Mapping[str, Any]) -> GenerationRequest:
        return self.request((*self._threads.get(thread), Message(role="user", content=text)), settings)

    def _keep(self, thread: str, text: str, reply: Reply) -> Reply:
        said = replace(reply, agent=self.name)
        user = Message(role="user", content=text)
        self._threads.put(thread, (*self._threads.get(thread), user, said.as_message()))
        return said


def _role_entry(base: Base | Generator, role: str | Path) -> str:
    """A role folder's shelf by its path, so that two roles of one name stay two; or a plugin's name as it is."""
    if not (Path(role).expanduser() / "role.toml").is_file():
        if isinstance(role, Path) or "/" in role:
            load_role(role)  # raises: says what is wrong with the folder
        return str(role)
    spec = load_role(role)
    if not spec.shelf.exists():
        raise RoleError(f"role {spec.name} has no published plugin", f"run `loragent train role {spec.folder}`")
    if isinstance(base, Base):
        base.library.attach(spec.shelf.path, replace=False)  # a convenience: stacks may name it too
    return str(spec.shelf.path.absolute())
