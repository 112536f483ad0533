"""Agents with a memory: asked first, read where it isn't sure, told what was said."""

from __future__ import annotations

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


def test_what_the_store_finds_is_read_like_a_result(memory: la.Memory, model: Scripted) -> None:
    agent = la.Agent("desk", base=model, memory=memory)
    memory.remember(ROOM)
    reply = agent.run(QUESTION)
    assert (reply.text, [recall.source for recall in reply.recalls]) == ("2 read", ["store"])
    assert [(m.role, m.content) for m in agent.history()] == [
        ("user", QUESTION),
        ("tool", "Mira Osei's room is 214."),
        ("assistant", "2 read"),
    ]


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
    import asyncio

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
