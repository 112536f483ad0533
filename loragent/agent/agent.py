"""An agent: a name, a stack of plugins on the shared base, and its conversations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from ..base import Base
from ..core import (
    GenerationRequest,
    Generator,
    Message,
    Reply,
    ToolResult,
    Use,
    as_messages,
)
from ..memory import Memory, Scope, Voice
from ..tool import Confirm, PluginTool, Toolbox
from . import turn
from .mounting import role_entry, scenes_of, tool_entry
from .remembering import Remembering
from .threads import DEFAULT, Threads, trim


class Agent:
    """Answers in a role.

    Args:
        name: who speaks.
        base: the shared base, or anything that generates.
        role: a role folder with a published plugin, or a plugin's name in the base's library.
        stack: further plugins on top of the role's. Where there is a role or a stack, they speak, and the toolset's
            plugin alone decides what is called.
        tools: what it may call: langchain tools, or typed functions. The prompt tells of those that no plugin of the
            stack has learnt.
        toolset: the plugin that calls them; "auto" is one of the base's library that has learnt exactly these tools,
            or else one that reads schemas, with a warning; None mounts none.
        confirm: asks a person about calls of tools that want that; without it they are refused.
        max_calls: rounds of calls in one turn; then it has to answer in words.
        memory: is asked before it answers, and keeps what was said.
        remembers: whether facts that a user mentions are noted in the memory, for that thread, if it can read them.
        prompt: a system prompt, where a plugin is not enough (or not there).
        max_tokens: of an answer.
        temperature: 0 is greedy.
        top_p: nucleus mass.

    Raises:
        RoleError: the role has no published plugin.
        ToolRefused: something among the tools is none, or two have the same name.
    """

    def __init__(
        self,
        name: str,
        *,
        base: Base | Generator,
        role: str | Path | None = None,
        stack: Sequence[str | Path | Use] = (),
        tools: Sequence[BaseTool | Callable[..., Any]] = (),
        toolset: str | Path | Use | None = "auto",
        confirm: Confirm | None = None,
        max_calls: int = 8,
        memory: Memory | None = None,
        remembers: bool = True,
        prompt: str | None = None,
        max_tokens: int = 160,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> None:
        self.name, self.prompt = name, prompt
        self._base = base
        own = [item.on(base) if isinstance(item, PluginTool) else item for item in tools]
        self._toolbox, self._max_calls = Toolbox(own, confirm), max_calls
        mounted = [role_entry(base, role)] if role is not None else []
        entries = [e if isinstance(e, Use) else Use(e) for e in (*mounted, *stack)]
        caller = [e if isinstance(e, Use) else Use(e) for e in tool_entry(base, self._toolbox.schemas, toolset)]
        self._speaking: tuple[Use, ...] = tuple(entries)
        self._calling = tuple(e for e in caller if e.plugin not in {u.plugin for u in entries})
        self._settings: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
        self._threads = Threads()
        # Whoever calls tools with the plugin that speaks, or without one, was never seen in anybody's manner.
        silent = bool(self._toolbox.schemas) and not self._apart
        voice = None if silent else Voice(self._speaking, scenes_of(role))
        self._remembering = Remembering(memory, voice, notes=remembers)
        self._remembering.introduce(base)

    def __repr__(self) -> str:
        return f"Agent({self.name}, {' + '.join(use.plugin for use in self.stack) or 'bare base'})"

    def run(self, text: str, *, thread: str = DEFAULT, user: str = "", **settings: Any) -> Reply:
        """Answer a user message in a thread, calling tools on the way. If anything fails, the thread is as it was.

        Args:
            user: who says it, as the memory knows him: it answers him in his manner, and what he mentions is noted of
                him; without a name that is known in the thread alone.
            settings: of this answer only: ``max_tokens``, ``temperature``, ``top_p``, ``stop``, ``seed``,
                ``tool_choice``, ``parallel_calls``, ``output``.
        """
        with_whom = self._scope(thread, user)
        return self._keep(with_whom, text, self._run(self._with(with_whom, text), settings, with_whom))

    async def arun(self, text: str, *, thread: str = DEFAULT, user: str = "", **settings: Any) -> Reply:
        """:meth:`run` for asyncio; agents that are awaited together decode together."""
        with_whom = self._scope(thread, user)
        done = await self._arun(self._with(with_whom, text), settings, with_whom)
        return await asyncio.to_thread(self._keep, with_whom, text, done)

    def stream(
        self, text: str, *, thread: str = DEFAULT, user: str = "", **settings: Any
    ) -> Iterator[str | ToolResult | Reply]:
        """Pieces of the answer and results of calls as they come, then the reply."""
        with_whom = self._scope(thread, user)
        steps = self._steps(self._with(with_whom, text), settings, self._remembering.manner(user))
        for item in turn.stream(steps, self._base.stream, self._toolbox, self._remembering.consult(with_whom)):
            yield self._keep(with_whom, text, item) if isinstance(item, turn.Turn) else item

    async def astream(
        self, text: str, *, thread: str = DEFAULT, user: str = "", **settings: Any
    ) -> AsyncIterator[str | ToolResult | Reply]:
        """:meth:`stream` for asyncio."""
        with_whom = self._scope(thread, user)
        manner = await asyncio.to_thread(self._remembering.manner, user)
        steps = self._steps(self._with(with_whom, text), settings, manner)
        async for item in turn.astream(steps, self._base.astream, self._toolbox, self._remembering.consult(with_whom)):
            yield await asyncio.to_thread(self._keep, with_whom, text, item) if isinstance(item, turn.Turn) else item

    def reply_to(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        thread: str = "",
        user: str = "",
        heard: bool = True,
        mannered: bool = True,
        **settings: Any,
    ) -> Reply:
        """Answer a conversation that somebody else keeps (a session); no thread is touched.

        Args:
            thread, user: as the memory knows conversation and user; without both nothing is noted.
            heard: whether a user has said the last message, so that what it mentions is to be noted.
            mannered: whether the user reads the answer, so that it is to be in his manner.
        """
        given, with_whom = as_messages(messages), self._scope(thread, user)
        done = self._run(given, settings, with_whom, mannered)
        return self._spoken(done, _asked(given) if heard else "", with_whom)

    async def areply_to(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        thread: str = "",
        user: str = "",
        heard: bool = True,
        mannered: bool = True,
        **settings: Any,
    ) -> Reply:
        """:meth:`reply_to` for asyncio."""
        given, with_whom = as_messages(messages), self._scope(thread, user)
        done = await self._arun(given, settings, with_whom, mannered)
        return await asyncio.to_thread(self._spoken, done, _asked(given) if heard else "", with_whom)

    def history(self, thread: str = DEFAULT, user: str = "") -> tuple[Message, ...]:
        """The messages of a user's thread, oldest first."""
        return self._threads.get((user, thread))

    def forget(self, thread: str = DEFAULT, user: str = "") -> None:
        """Begin a user's thread anew."""
        self._threads.clear((user, thread))

    @property
    def memory(self) -> Memory | None:
        """What it asks before it answers."""
        return self._remembering.memory

    @property
    def stack(self) -> tuple[Use, ...]:
        """Its plugins: those that speak, and those that call tools."""
        return (*self._speaking, *self._calling)

    def request(
        self, messages: Sequence[Message], settings: Mapping[str, Any], manner: Sequence[Use] = ()
    ) -> GenerationRequest:
        """The request for the next words in a conversation, trimmed to the context by whole turns.

        Args:
            manner: what makes it answer as a user wants to be answered.
        """
        tools = {} if self._apart else {"tools": self._toolbox.schemas}
        system = (Message(role="system", content=self.prompt),) if self.prompt else ()
        stack = (*(self._speaking if self._apart else self.stack), *manner)
        return self._fitting((*system, *messages), stack, {**tools, **self._settings, **settings})

    def decision(self, messages: Sequence[Message], settings: Mapping[str, Any]) -> GenerationRequest:
        """The request for what is to be called next in a conversation; one word says that nothing is.

        It is no place for chance, nor for what concerns the answer's words alone.
        """
        known = {"tools": self._toolbox.schemas, **self._settings, **settings}
        alone = {"temperature": 0.0, "stop": (" ",), "output": None}
        return self._fitting(messages, self._calling, {**known, **alone})

    @property
    def _apart(self) -> bool:
        """Whether one plugin calls and others speak."""
        return bool(self._speaking and self._calling)

    def _fitting(
        self, messages: Sequence[Message], stack: Sequence[Use], chosen: Mapping[str, Any]
    ) -> GenerationRequest:
        limit = self._base.context_length - chosen["max_tokens"]

        def made(part: Sequence[Message]) -> GenerationRequest:
            return GenerationRequest(part, stack, **chosen)

        return made(trim(messages, limit, lambda part: self._base.count_tokens(made(part))))

    def _steps(self, messages: Sequence[Message], settings: Mapping[str, Any], manner: Sequence[Use]) -> turn.Steps:
        manner = manner if settings.get("output") is None else ()

        def ask(said: Sequence[Message], choice: str) -> GenerationRequest | turn.Quiet:
            if self._apart and choice != "none":
                return turn.Quiet(self.decision((*messages, *said), {**settings, "tool_choice": choice}))
            return self.request((*messages, *said), {**settings, "tool_choice": choice}, manner)

        own = frozenset(schema.name for schema in self._toolbox.schemas)
        choice = settings.get("tool_choice", "auto")
        open_to = self.memory is not None and choice == "auto" and settings.get("output") is None
        question = _asked(messages) if open_to else ""
        return turn.steps(ask, own, self._max_calls, choice, question)

    def _run(
        self, messages: Sequence[Message], settings: Mapping[str, Any], with_whom: Scope, mannered: bool = True
    ) -> turn.Turn:
        steps = self._steps(messages, settings, self._remembering.manner(with_whom.user if mannered else ""))
        return turn.run(steps, self._base, self._toolbox, self._remembering.consult(with_whom))

    async def _arun(
        self, messages: Sequence[Message], settings: Mapping[str, Any], with_whom: Scope, mannered: bool = True
    ) -> turn.Turn:
        manner = await asyncio.to_thread(self._remembering.manner, with_whom.user if mannered else "")
        steps = self._steps(messages, settings, manner)
        return await turn.arun(steps, self._base, self._toolbox, self._remembering.consult(with_whom))

    def _scope(self, thread: str, user: str) -> Scope:
        return Scope(user, self.name, thread)

    def _with(self, whom: Scope, text: str) -> tuple[Message, ...]:
        return (*self._threads.get((whom.user, whom.thread)), Message(role="user", content=text))

    def _keep(self, with_whom: Scope, text: str, done: turn.Turn) -> Reply:
        said = [m.model_copy(update={"name": self.name}) if m.role == "assistant" else m for m in done.messages]
        self._threads.put((with_whom.user, with_whom.thread), (*self._with(with_whom, text), *said))
        self._remembering.log((Message(role="user", content=text), *said), with_whom)
        return self._spoken(done, text, with_whom)

    def _spoken(self, done: turn.Turn, heard: str, with_whom: Scope) -> Reply:
        """The reply in the agent's name, with what it noted; whoever passes a message on leaves that to the next."""
        noted = self._remembering.noted(heard, with_whom) if heard and done.reply.text else ()
        return replace(done.reply, agent=self.name, noted=noted)


def _asked(messages: Sequence[Message]) -> str:
    """What the user has said last, if nobody has answered yet."""
    return messages[-1].content if messages and messages[-1].role == "user" else ""
