"""Agents and sessions, mostly with a scripted generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

import loragent as la
from loragent.agent.threads import trim
from loragent.core import Generator
from tests.conftest import MakePlugin

Script = Callable[[la.GenerationRequest], str]


class Scripted:
    """Answers by a function; counts one token a word, and notes which requests came together."""

    def __init__(self, script: Script, context: int = 1000) -> None:
        self._script, self.context_length = script, context
        self.batches: list[list[la.GenerationRequest]] = []

    def generate(self, requests: Sequence[la.GenerationRequest]) -> list[la.Reply]:
        self.batches.append(list(requests))
        return [self._reply(request) for request in requests]

    async def agenerate(self, requests: Sequence[la.GenerationRequest]) -> list[la.Reply]:
        return self.generate(requests)

    def stream(self, request: la.GenerationRequest) -> Iterator[str | la.Reply]:
        reply = self._reply(request)
        yield from reply.text.split()
        yield reply

    async def astream(self, request: la.GenerationRequest) -> AsyncIterator[str | la.Reply]:
        for item in self.stream(request):
            yield item

    def count_tokens(self, request: la.GenerationRequest) -> int:
        return sum(len(m.content.split()) for m in request.messages)

    def _reply(self, request: la.GenerationRequest) -> la.Reply:
        text = self._script(request)
        calls: tuple[la.ToolCall, ...] = ()
        if text.startswith(">>"):
            text, calls = "", (la.ToolCall(name="hand_over", arguments={"to": text[2:]}),)
        stack = tuple(la.Mounted(u.plugin, 1) for u in request.stack)
        return la.Reply(text, stack, la.Usage(self.count_tokens(request), 1, 1.0, 2.0), calls, raw=text)


def echo(request: la.GenerationRequest) -> str:
    return f"{len(request.messages)} {request.messages[-1].content}"


def test_the_script_is_a_generator(base: la.Base) -> None:
    assert isinstance(Scripted(echo), Generator)
    assert isinstance(base, Generator)


def test_threads_are_kept_apart() -> None:
    agent = la.Agent("a", base=Scripted(echo))
    assert agent.run("one").text == "1 one"
    assert agent.run("two").text == "3 two"
    assert agent.run("other", thread="b").text == "1 other"
    assert [m.content for m in agent.history()] == ["one", "1 one", "two", "3 two"]
    agent.forget()
    assert agent.run("new").text == "1 new"


def test_a_failure_leaves_the_thread_as_it_was() -> None:
    def fail(request: la.GenerationRequest) -> str:
        if "boom" in request.messages[-1].content:
            raise la.GenerationError("boom")
        return "ok"

    agent = la.Agent("a", base=Scripted(fail))
    agent.run("hello")
    with pytest.raises(la.GenerationError):
        agent.run("boom")
    assert len(agent.history()) == 2


def test_stream_and_async_keep_the_thread_too() -> None:
    agent = la.Agent("a", base=Scripted(echo))
    *pieces, reply = agent.stream("one two")
    assert (pieces, reply.agent) == (["1", "one", "two"], "a")  # type: ignore[union-attr]

    async def both() -> la.Reply:
        async for _ in agent.astream("x"):
            pass
        return await agent.arun("y")

    assert asyncio.run(both()).text == "5 y"


def test_history_is_trimmed_by_whole_turns() -> None:
    scripted = Scripted(lambda r: "an answer of five words", context=30)
    agent = la.Agent("a", base=scripted, max_tokens=10, prompt="be brief")
    for i in range(6):
        agent.run(f"question number {i} here please")
    (request,) = scripted.batches[-1]
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "user"]
    assert request.messages[-1].content == "question number 5 here please"
    assert len(agent.history()) == 12


def test_the_newest_turn_and_the_prompt_always_stay() -> None:
    messages = [
        la.Message(role="system", content="s"),
        la.Message(role="user", content="old"),
        la.Message(role="user", content="new"),
    ]
    assert [m.content for m in trim(messages, 0, len)] == ["s", "new"]


def test_settings_of_one_answer() -> None:
    scripted = Scripted(echo)
    la.Agent("a", base=scripted, temperature=0.5).run("x", temperature=0.0, seed=3)
    assert (scripted.batches[0][0].temperature, scripted.batches[0][0].seed) == (0.0, 3)


def hotel(request: la.GenerationRequest) -> str:
    """The stack says who is asked."""
    (use,) = request.stack
    text = request.messages[-1].content
    if use.plugin == "desk":
        return ">>rooms" if "towel" in text else ">>nobody" if "lost" in text else "desk here"
    return ">>desk" if "breakfast" in text else "rooms here"


def team(script: Script = hotel) -> tuple[Scripted, list[la.Agent]]:
    scripted = Scripted(script)
    return scripted, [la.Agent(n, base=scripted, stack=[n]) for n in ("desk", "rooms")]


def test_handoff_passes_the_conversation_on_and_it_stays_there() -> None:
    _scripted, agents = team()
    session = la.Session(agents, pattern="handoff")
    result = session.run("towels please")
    assert [(e.agent, e.handed_to) for e in result.transcript] == [("desk", "rooms"), ("rooms", None)]
    assert result.text == "rooms here"
    assert session.run("and more").transcript[0].agent == "rooms"
    assert session.run("when is breakfast").transcript[-1].agent == "desk"
    assert [m.role for m in session.history()] == ["user", "assistant"] * 3
    assert str(result.transcript[1].stack[0]) == "rooms@1"


def test_a_handover_to_nobody_is_an_answer() -> None:
    _, agents = team()
    result = la.Session(agents).run("lost")
    assert [(e.agent, e.handed_to) for e in result.transcript] == [("desk", None)]


def test_nobody_gets_the_same_message_twice() -> None:
    scripted = Scripted(lambda r: ">>rooms" if r.stack[0].plugin == "desk" else ">>desk")
    session = la.Session([la.Agent(n, base=scripted, stack=[n]) for n in ("desk", "rooms")])
    result = session.run("hi")
    assert [(e.agent, e.handed_to) for e in result.transcript] == [("desk", "rooms"), ("rooms", None)]


def test_a_chain_of_handovers_is_cut_at_max_turns() -> None:
    names = ["a", "b", "c", "d"]
    scripted = Scripted(lambda r: ">>" + chr(ord(r.stack[0].plugin) + 1))
    session = la.Session([la.Agent(n, base=scripted, stack=[n]) for n in names])
    result = session.run("hi", max_turns=2)
    assert (result.finish, len(result.transcript), result.text) == ("max_turns", 2, "")


def test_an_agent_reads_its_own_turns_and_the_message_at_hand() -> None:
    scripted, agents = team()
    session = la.Session(agents)
    for text in ("good day", "towels please", "and more"):
        session.run(text)
    read = [(r.stack[0].plugin, [m.content for m in r.messages]) for (r,) in scripted.batches]
    assert read == [
        ("desk", ["good day"]),
        ("desk", ["good day", "desk here", "towels please"]),
        ("rooms", ["towels please"]),
        ("rooms", ["towels please", "rooms here", "and more"]),
    ]


def test_pipeline_hands_each_answer_on() -> None:
    _, agents = team(lambda r: f"{r.stack[0].plugin}({r.messages[-1].content})")
    result = la.Session(agents, pattern="pipeline").run("x")
    assert result.text == "rooms(desk(x))"
    assert [e.agent for e in result.transcript] == ["desk", "rooms"]
    assert result.finish == "done"
    assert la.Session(agents, pattern="pipeline").run("x", max_turns=1).finish == "max_turns"


def test_session_threads_are_kept_apart() -> None:
    _, agents = team()
    session = la.Session(agents)
    session.run("towels", thread="1")
    assert (session.active("1"), session.active("2")) == ("rooms", "desk")
    assert session.history("2") == ()


def test_bad_sessions() -> None:
    _, agents = team()
    with pytest.raises(la.RoleError, match="different names"):
        la.Session([agents[0], agents[0]])
    with pytest.raises(la.RoleError, match="pipeline or handoff"):
        la.Session(agents, pattern="circle")  # type: ignore[arg-type]


def test_agents_that_are_ready_together_decode_in_one_batch(base: la.Base, make_plugin: MakePlugin) -> None:
    for i, name in enumerate(("desk", "rooms", "books")):
        base.library.publish(make_plugin(name, seed=i), la.Manifest(name=name, base=base.fingerprint))
    agents = [la.Agent(n, base=base, role=n, max_tokens=40) for n in ("desk", "rooms", "books")]
    widths = []
    runner = base._engine._runner
    decode = runner.decode

    def watch(rows: Sequence[object]) -> object:
        widths.append(len(rows))
        return decode(rows)  # type: ignore[arg-type]

    runner.decode = watch  # type: ignore[method-assign, assignment]

    async def all_at_once() -> list[la.Reply]:
        return list(await asyncio.gather(*(a.arun("hello", min_tokens=40) for a in agents)))

    replies = asyncio.run(all_at_once())
    assert max(widths) == 3
    assert [str(r.stack[0]) for r in replies] == ["desk@1", "rooms@1", "books@1"]
