"""Turns with tools: calls, results, limits, and threads that stay whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loragent as la
from loragent.core import ToolResult
from tests.agent.test_agent import Scripted


class Caller(Scripted):
    """Makes the calls of a script, one list of them an answer, and then says what it read last."""

    def __init__(self, *script: list[la.ToolCall]) -> None:
        super().__init__(lambda request: request.messages[-1].content, context=200)
        self._calls = list(script)

    def _reply(self, request: la.GenerationRequest) -> la.Reply:
        reply = super()._reply(request)
        calls = tuple(self._calls.pop(0)) if self._calls and request.tool_choice != "none" else ()
        return la.Reply(
            "" if calls else reply.text, (), reply.usage, calls, told=tuple(t.name for t in request.callable)
        )


@la.tool
def price(nights: int) -> int:
    "Price of a stay."
    if nights > 21:
        raise ValueError("21 nights at most")
    return nights * 85


def nights(n: int) -> la.ToolCall:
    return la.ToolCall(name="price", arguments={"nights": n})


def agent(model: Caller, **settings: Any) -> la.Agent:
    return la.Agent("clerk", base=model, tools=[price], **settings)


def test_a_call_is_made_read_and_answered() -> None:
    model = Caller([nights(2)], [nights(30)])
    clerk = agent(model)
    reply = clerk.run("How much?")
    assert reply.text == "price failed: 21 nights at most"
    assert [r.content for r in reply.results] == ["170", reply.text]
    assert "ValueError" in reply.results[1].traceback
    assert [c.arguments["nights"] for c in reply.tool_calls] == [2, 30]
    assert reply.agent == "clerk"
    assert reply.told == ("price",)
    assert [m.role for m in clerk.history()] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert {m.name for m in clerk.history() if m.role == "assistant"} == {"clerk"}
    assert reply.usage.prompt_tokens == sum(model.count_tokens(b[0]) for b in model.batches)


def test_several_calls_of_one_answer_are_made_in_order() -> None:
    reply = agent(Caller([nights(1), nights(2), nights(3)])).run("How much?")
    assert [r.content for r in reply.results] == ["85", "170", "255"]


def test_calls_without_an_end_are_ended_and_it_says_so() -> None:
    reply = agent(Caller(*[[nights(1)]] * 50), max_calls=3).run("How much?")
    assert len(reply.results) == 3
    assert reply.finish == "max_calls"
    assert reply.text == "85"


def test_what_is_forced_is_forced_once() -> None:
    model = Caller([nights(1)])
    agent(model).run("How much?", tool_choice="price")
    assert [b[0].tool_choice for b in model.batches] == ["price", "auto"]


def test_a_call_that_is_not_the_agents_is_left_to_the_caller() -> None:
    reply = agent(Caller([la.ToolCall(name="hand_over", arguments={"to": "boss"})])).run("Get me your boss")
    assert reply.tool_calls[0].name == "hand_over"
    assert reply.results == ()


def test_pieces_and_results_stream_and_async_does_the_same() -> None:
    clerk = agent(Caller([nights(2)]))
    events = list(clerk.stream("How much?"))
    assert [type(e) for e in events] == [ToolResult, str, la.Reply]

    async def listen() -> list[Any]:
        other = agent(Caller([nights(2)]))
        return [e async for e in other.astream("How much?")]

    assert [type(e) for e in asyncio.run(listen())] == [ToolResult, str, la.Reply]
    assert asyncio.run(agent(Caller([nights(2)])).arun("How much?")).text == "170"


def test_a_turn_that_fails_leaves_the_thread_as_it_was() -> None:
    class Breaks(Caller):
        def _reply(self, request: la.GenerationRequest) -> la.Reply:
            if request.messages[-1].role == "tool":
                raise la.GenerationError("no more")
            return super()._reply(request)

    clerk = agent(Breaks([nights(2)]))
    with pytest.raises(la.GenerationError):
        clerk.run("How much?")
    assert clerk.history() == ()


def test_where_one_plugin_calls_and_another_speaks_each_does_its_own() -> None:
    model = Caller([nights(2)], [nights(3)])
    clerk = agent(model, stack=["clerk"], toolset="desk", prompt="Be kind.", temperature=0.7)
    reply = clerk.run("How much?")
    deciding, speaking = [b[0] for b in model.batches[:-1]], model.batches[-1][0]
    assert len(deciding) == 3
    assert {(r.stack[0].plugin, len(r.tools), r.temperature) for r in deciding} == {("desk", 1, 0.0)}
    assert not any(m.role == "system" for r in deciding for m in r.messages)
    assert (speaking.stack[0].plugin, speaking.tools, speaking.temperature) == ("clerk", (), 0.7)
    assert speaking.messages[0].content == "Be kind."
    assert reply.text == "255"
    assert [m.role for m in clerk.history()] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]


def test_where_nothing_is_to_be_called_only_the_role_is_heard() -> None:
    clerk = agent(Caller(), stack=["clerk"], toolset="desk")
    assert [type(e) for e in clerk.stream("Hello")] == [str, la.Reply]
    assert [m.role for m in clerk.history()] == ["user", "assistant"]


def test_who_decides_and_repeats_itself_is_asked_no_further() -> None:
    model = Caller(*[[nights(2)]] * 9)
    reply = agent(model, stack=["clerk"], toolset="desk").run("How much?")
    assert (len(reply.results), reply.finish) == (1, "stop")
    assert len(model.batches) == 3


@la.tool(said=("nights",))
def stay(nights: int) -> str:
    "Book a stay."
    return f"booked for {nights}"


def stays(n: int) -> la.ToolCall:
    return la.ToolCall(name="stay", arguments={"nights": n})


def test_who_only_decides_and_makes_something_up_has_called_nothing() -> None:
    clerk = la.Agent("clerk", base=Caller([stays(9)]), tools=[stay], stack=["clerk"], toolset="desk")
    reply = clerk.run("A room for three nights")
    assert [(r.error, r.caller) for r in reply.results] == [("not said", "")]
    assert reply.text == "A room for three nights"  # what the role read last
    assert [m.role for m in clerk.history()] == ["user", "assistant"]


def test_who_also_speaks_reads_that_it_was_made_up() -> None:
    reply = la.Agent("clerk", base=Caller([stays(9)]), tools=[stay]).run("A room for three nights")
    assert reply.text == "stay was not called: nobody has said the nights."


def test_in_a_session_an_agent_reads_what_it_has_called_before() -> None:
    model = Caller([stays(3)])
    clerk = la.Agent("clerk", base=model, tools=[stay], stack=["clerk"], toolset="desk")
    session = la.Session([clerk])
    assert session.run("three nights").text == "booked for 3"
    session.run("thanks")
    deciding = next(r for (r,) in model.batches if r.messages[-1].content == "thanks")
    assert [m.role for m in deciding.messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert deciding.messages[1].tool_calls == (stays(3),)


def test_on_a_real_engine_an_agent_calls_and_reads_what_came_back(base: la.Base) -> None:
    clerk = la.Agent("clerk", base=base, tools=[price], max_tokens=100, max_calls=1)
    reply = clerk.run("How much?", tool_choice="required", seed=1, temperature=1.0, parallel_calls=False)
    assert [c.name for c in reply.tool_calls] == ["price"]
    assert len(reply.results) == 1
    assert reply.told == ("price",)
