"""Several agents in one conversation, on one base. The patterns are LangGraph graphs with an agent a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from ..core import Message, Mounted, Reply, RoleError
from .agent import Agent
from .threads import DEFAULT, Key, Threads

Pattern = Literal["pipeline", "handoff"]
HAND_OVER = "hand_over"  # the call by which an agent passes the conversation on: {"to": name, ...}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a transcript: who spoke, with which plugins, and to whom it was passed on."""

    agent: str
    reply: Reply
    handed_to: str | None = None

    @property
    def stack(self) -> tuple[Mounted, ...]:
        return self.reply.stack


@dataclass(frozen=True, slots=True)
class SessionResult:
    """What a session did with one message.

    Attributes:
        text: the last answer.
        transcript: every turn, hand-overs included.
        finish: "done", or "max_turns" when the agents were not through by then.
    """

    text: str
    transcript: tuple[Entry, ...]
    finish: Literal["done", "max_turns"] = "done"


def _extend(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*old, *new)


class _State(TypedDict):
    messages: Annotated[tuple[Message, ...], _extend]
    entries: Annotated[tuple[Entry, ...], _extend]
    active: str
    max_turns: int
    thread: str
    user: str


class Session:
    """A conversation of several agents.

    * ``handoff``: the active agent answers, or passes the message on by calling ``hand_over``; who has the
      conversation keeps it until it hands over in turn. The first agent begins. Each agent reads the turns that it
      answered itself and the message at hand.
    * ``pipeline``: each agent works on what the one before it said.

    Conversations are kept apart by thread. Sessions that are awaited together decode together.

    Raises:
        RoleError: no agents, two of one name, an unknown pattern.
    """

    def __init__(self, agents: Sequence[Agent], pattern: Pattern = "handoff") -> None:
        names = [agent.name for agent in agents]
        if not names or len(set(names)) != len(names):
            raise RoleError("a session needs agents with different names", f"these are {', '.join(names) or 'none'}")
        if pattern not in ("pipeline", "handoff"):
            raise RoleError(f"unknown pattern {pattern!r}", "use pipeline or handoff")
        self.agents = {agent.name: agent for agent in agents}
        self.pattern: Pattern = pattern
        self._threads = Threads()
        self._active: dict[Key, str] = {}
        self._graph = self._build()

    def run(self, text: str, *, thread: str = DEFAULT, user: str = "", max_turns: int = 8) -> SessionResult:
        """Let the agents work on a user message. If anything fails, the thread is as it was.

        Args:
            user: who says it, as the agents' memories know him.
        """
        begun = self._begin(text, thread, user, max_turns)
        return self._keep((user, thread), self._graph.invoke(begun, _limit(max_turns)))

    async def arun(self, text: str, *, thread: str = DEFAULT, user: str = "", max_turns: int = 8) -> SessionResult:
        """:meth:`run` for asyncio."""
        begun = self._begin(text, thread, user, max_turns)
        return self._keep((user, thread), await self._graph.ainvoke(begun, _limit(max_turns)))

    def history(self, thread: str = DEFAULT, user: str = "") -> tuple[Message, ...]:
        """The messages of a user's thread as the agents see them."""
        return self._threads.get((user, thread))

    def active(self, thread: str = DEFAULT, user: str = "") -> str:
        """The agent that has the conversation."""
        return self._active.get((user, thread), next(iter(self.agents)))

    def _begin(self, text: str, thread: str, user: str, max_turns: int) -> _State:
        first = self.active(thread, user) if self.pattern == "handoff" else next(iter(self.agents))
        messages = (*self._threads.get((user, thread)), Message(role="user", content=text))
        begun: _State = {
            "messages": messages, "entries": (), "active": first, "max_turns": max_turns, "thread": thread, "user": user
        }  # fmt: skip
        return begun

    def _keep(self, thread: Key, state: dict[str, Any]) -> SessionResult:
        entries: tuple[Entry, ...] = state["entries"]
        spoken = [e for e in entries if e.handed_to is None]
        whole = spoken and (self.pattern == "handoff" or len(entries) == len(self.agents))
        self._threads.put(thread, state["messages"])
        self._active[thread] = state["active"]
        finish: Literal["done", "max_turns"] = "done" if whole else "max_turns"
        last = spoken[-1].reply if spoken else None
        return SessionResult((last.text or last.raw) if last else "", entries, finish)

    def _build(self) -> Any:
        graph = StateGraph(_State)
        names = list(self.agents)
        step = self._hand_over if self.pattern == "handoff" else self._pass_along
        for name, agent in self.agents.items():
            graph.add_node(name, _node(agent, step, self._speaks), destinations=(*names, END))
        graph.add_conditional_edges(START, lambda state: state["active"], names)
        return graph.compile()

    def _hand_over(self, agent: Agent, state: _State, reply: Reply) -> Command[str]:
        """Where the conversation goes after an agent's turn: on to another agent, or back to the user."""
        asked = next((c for c in reply.tool_calls if c.name == HAND_OVER), None)
        target = str(asked.arguments.get("to", "")) if asked else ""
        passed = {entry.agent for entry in state["entries"]} | {agent.name}
        if target not in self.agents or target in passed:  # nobody gets the same message twice
            update = {"entries": (Entry(agent.name, reply),), "messages": reply.as_messages(), "active": agent.name}
            return Command(update=update, goto=END)
        update = {"entries": (Entry(agent.name, reply, target),), "active": target}
        # The call is no part of the conversation: the colleague sees what the user said, and answers it.
        goto = target if len(state["entries"]) + 1 < state["max_turns"] else END
        return Command(update=update, goto=goto)

    def _pass_along(self, agent: Agent, state: _State, reply: Reply) -> Command[str]:
        """The next agent gets this one's answer as its task; the last one's answer is the result."""
        names = list(self.agents)
        last = self._speaks(agent, state)
        said = reply.as_message() if last else Message(role="user", content=reply.text)
        update = {"entries": (Entry(agent.name, reply),), "messages": (said,), "active": agent.name}
        return Command(update=update, goto=END if last else names[names.index(agent.name) + 1])

    def _speaks(self, agent: Agent, state: _State) -> bool:
        """Whether the user reads what an agent says now: in a pipeline, what the last one does."""
        last = agent.name == list(self.agents)[-1] or len(state["entries"]) + 1 >= state["max_turns"]
        return self.pattern == "handoff" or last


def _node(agent: Agent, step: Any, speaks: Callable[[Agent, _State], bool]) -> RunnableLambda[_State, Command[str]]:
    """A graph node that works under ``invoke`` and ``ainvoke``.

    Args:
        speaks: whether what the agent says now is read by the user.
    """

    def how(state: _State) -> dict[str, Any]:
        heard, mannered = _is_users(state), speaks(agent, state)
        return {"thread": state["thread"], "user": state["user"], "heard": heard, "mannered": mannered}

    def run(state: _State) -> Command[str]:
        return step(agent, state, agent.reply_to(_view(agent, state), **how(state)))  # type: ignore[no-any-return]

    async def arun(state: _State) -> Command[str]:
        reply = await agent.areply_to(_view(agent, state), **how(state))
        return step(agent, state, reply)  # type: ignore[no-any-return]

    return RunnableLambda(run, afunc=arun, name=agent.name)


def _is_users(state: _State) -> bool:
    """Whether the message at hand is the user's, and not what an agent before has made of it."""
    return all(entry.handed_to is not None for entry in state["entries"])


def _view(agent: Agent, state: _State) -> tuple[Message, ...]:
    """What an agent reads: the turns that it answered itself, and the message at hand.

    A role is trained on its own conversations. Colleagues' turns in front made small models answer like the colleague
    or pass everything on (docs/adr/0005).
    """
    *before, at_hand = state["messages"]
    turns: list[list[Message]] = []
    for message in before:
        turns += [[message]] if message.role == "user" else []
        if message.role != "user" and turns:
            turns[-1].append(message)
    own = (turn for turn in turns if turn[-1].name == agent.name)
    return (*chain.from_iterable(own), at_hand)


def _limit(max_turns: int) -> dict[str, Any]:
    return {"recursion_limit": max_turns + 2}
