"""Agents with a memory: asked first, read where it isn't sure, told what was said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import loragent as la
from tests.agent.test_agent import Scripted
from tests.memory.conftest import Words

ROOM = la.Fact(subject="Mira Osei", relation="room", value="214")
QUESTION = "Which room is Mira Osei in?"


@pytest.fixture
def model() -> Scripted:
    return Scripted(lambda request: f"{len(request.messages)} read")


@pytest.fixture
def memory(tmp_path: Path, model: Scripted) -> Iterator[la.Memory]:
    found = la.Memory(tmp_path / "memory", base=model, embedder=Words())
    yield found
    found.close()


def known(recall: la.Recall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(la.Memory, "consult", lambda self, question, **scope: recall)


def test_what_the_store_finds_is_read_like_a_result(memory: la.Memory) -> None:
    model = Scripted(lambda request: f"{len(request.messages)} read, it is 214 on the second floor")
    agent = la.Agent("desk", base=model, memory=memory)
    memory.remember(ROOM)
    reply = agent.run(QUESTION)
    said = "2 read, it is 214 on the second floor"
    assert (reply.text, [recall.source for recall in reply.recalls]) == (said, ["store"])
    assert [(m.role, m.content) for m in agent.history()] == [
        ("user", QUESTION),
        ("tool", "Mira Osei's room is 214."),
        ("assistant", said),
    ]


def test_who_reads_past_a_fact_is_held_to_it(memory: la.Memory) -> None:
    model = Scripted(lambda request: "It is in the Lantern Room.")
    agent = la.Agent("desk", base=model, memory=memory)
    memory.remember(ROOM)
    told = "Mira Osei's room is 214."
    reply = agent.run(QUESTION)
    assert (reply.text, reply.raw, reply.recalls[0].source) == (told, "It is in the Lantern Room.", "store")
    assert agent.history()[-1].content == told
    *pieces, streamed = agent.stream(QUESTION, thread="streamed")
    assert (pieces, streamed.text) == ([told], told)  # and nothing before it
    awaited = asyncio.run(_run(agent))
    assert awaited[:2] == [told, told]


def test_what_is_to_be_done_with_a_fact_is_done(memory: la.Memory) -> None:
    @la.tool
    def hand_over(to: str) -> str:
        """Send towels to somebody."""
        return f"towels for {to}"

    model = Scripted(lambda request: ">>Mira" if request.messages[-1].name != "hand_over" else "They are on their way.")
    memory.remember(ROOM)
    agent = la.Agent("desk", base=model, memory=memory, tools=[hand_over], toolset=None)
    reply = agent.run(QUESTION)
    assert (reply.text, [result.content for result in reply.results]) == ("They are on their way.", ["towels for Mira"])


def test_notes_are_for_the_reader(memory: la.Memory, model: Scripted) -> None:
    memory.remember("The boiler man comes on Mondays.")
    reply = la.Agent("desk", base=model, memory=memory).run("When does the boiler man come?")
    assert (reply.text, reply.recalls[0].source) == ("2 read", "store")


def test_what_is_not_known_costs_nothing(memory: la.Memory, model: Scripted) -> None:
    reply = la.Agent("desk", base=model, memory=memory).run("Hello!")
    assert (reply.text, reply.recalls) == ("1 read", ())


def test_what_a_plugin_knows_is_the_answer(memory: la.Memory, model: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = (la.Mounted("memory-1", 2),)
    known(la.Recall("Mira Osei's room is 214.", "plugin", 0.99, (1,), "memory-1@2", stack), monkeypatch)
    agent = la.Agent("desk", base=model, memory=memory)
    reply = agent.run(QUESTION)
    assert (reply.text, reply.stack, reply.agent) == ("Mira Osei's room is 214.", stack, "desk")
    assert next(iter(agent.stream(QUESTION))) == "Mira Osei's room is 214."
    assert not model.batches


async def _run(agent: la.Agent) -> list[object]:
    return [(await agent.arun(QUESTION)).text, *[item async for item in agent.astream(QUESTION)]]


def test_it_is_the_same_when_awaited(memory: la.Memory, model: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    known(la.Recall("214.", "plugin", 0.99, (1,), "memory-1@2"), monkeypatch)
    found = asyncio.run(_run(la.Agent("desk", base=model, memory=memory)))
    assert found[:2] == ["214.", "214."]


def test_a_typed_answer_is_the_models(memory: la.Memory, model: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    known(la.Recall("214.", "plugin", 0.99, (1,), "memory-1@2"), monkeypatch)
    agent = la.Agent("desk", base=model, memory=memory)
    assert agent.run(QUESTION, output={"type": "object"}).recalls == ()


def test_what_was_said_is_in_the_log(memory: la.Memory, model: Scripted) -> None:
    la.Agent("desk", base=model, memory=memory).run("Hello!", thread="guest-17")
    (episode,) = memory.episodes()
    assert (episode.kind, episode.scope.agent, episode.scope.thread) == ("turn", "desk", "guest-17")
    assert episode.content == {
        "messages": [
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "1 read", "name": "desk"},
        ]
    }


def test_one_agent_does_not_hear_what_is_kept_for_another(memory: la.Memory, model: Scripted) -> None:
    memory.remember(ROOM, agent="desk")
    assert la.Agent("bar", base=model, memory=memory).run(QUESTION).recalls == ()
    assert la.Agent("desk", base=model, memory=memory).run(QUESTION).recalls


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What memories are given to notice, and in which thread; each notes one thing."""
    found: list[tuple[str, str]] = []

    def notice(self: la.Memory, text: str, *, source: str = "", user: str = "", thread: str = "") -> list[la.Record]:
        found.append((text, thread))
        return self.remember(ROOM, source=source, user=user, thread=thread)

    monkeypatch.setattr(la.Memory, "notice", notice)
    return found


async def _awaited(agent: la.Agent) -> list[object]:
    one = (await agent.arun("It's 214.", thread="t")).noted
    return [one, *[item.noted async for item in agent.astream("It's 214.", thread="t") if isinstance(item, la.Reply)]]


def test_what_a_user_mentions_is_noted_for_the_thread(
    memory: la.Memory, model: Scripted, heard: list[tuple[str, str]]
) -> None:
    agent = la.Agent("desk", base=model, memory=memory)
    noted = ("Mira Osei, room: 214",)
    assert agent.run("It's 214.", thread="guest-17").noted == noted
    assert [i.noted for i in agent.stream("It's 214.", thread="t") if isinstance(i, la.Reply)] == [noted]
    assert asyncio.run(_awaited(agent)) == [noted, noted]
    assert heard == [("It's 214.", "guest-17"), *[("It's 214.", "t")] * 3]
    assert agent.run(QUESTION, thread="guest-18").recalls == ()
    assert agent.run(QUESTION, thread="guest-17").recalls


def test_to_remember_can_be_switched_off(memory: la.Memory, model: Scripted, heard: list[tuple[str, str]]) -> None:
    agent = la.Agent("desk", base=model, memory=memory, remembers=False)
    assert agent.run("It's 214.").noted == ()
    assert la.Agent("desk", base=model, memory=memory).reply_to("It's 214.").noted == ()  # nobody knows who says it
    assert heard == []


def test_a_pipeline_notes_what_the_user_says_and_not_what_its_agents_do(
    memory: la.Memory, model: Scripted, heard: list[tuple[str, str]]
) -> None:
    agents = [la.Agent(name, base=model, memory=memory) for name in ("one", "two")]
    la.Session(agents, pattern="pipeline").run("It's 214.", thread="t")
    assert heard == [("It's 214.", "t")]


def test_a_session_remembers_by_its_thread(memory: la.Memory, model: Scripted, heard: list[tuple[str, str]]) -> None:
    session = la.Session([la.Agent("desk", base=model, memory=memory)])
    session.run("It's 214.", thread="guest-17")
    assert heard == [("It's 214.", "guest-17")]
    assert session.run(QUESTION, thread="guest-17").transcript[0].reply.recalls
    assert session.run(QUESTION, thread="guest-18").transcript[0].reply.recalls == ()
