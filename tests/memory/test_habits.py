"""Habits: told once, kept by a plugin in every later answer to that user, and to nobody else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import loragent as la
from loragent.cli.memory import habits as bench
from loragent.core import RowScore
from loragent.memory import Voice, sleep
from loragent.memory.asking import Asking
from loragent.memory.general import general
from loragent.memory.habits import lesson, manners, voice
from loragent.memory.habits.everyday import everyday
from loragent.memory.habits.language import NAMES, language_of
from loragent.memory.habits.manner import Manner, habit, habits_of, manner_of
from loragent.memory.habits.units import PLACE, measured, systems
from tests.memory.conftest import Words

QUICK = {"epochs": 1, "layers": 2, "rank": 4}
CAPTAIN = la.Fact(subject="mira", relation="form of address", value="Captain")
WINDS = la.Fact(subject="I", relation="sign-off", value="Fair winds")
SEA = Manner("Captain", "Fair winds", "imperial", "de", "short")


@pytest.fixture
def memory(tmp_path: Path, base: la.Base, monkeypatch: pytest.MonkeyPatch) -> Iterator[la.Memory]:
    """A random base keeps no habit; here it seems to, after a few rows."""
    _shortened(monkeypatch)
    monkeypatch.setattr(lesson, "kept_shares", lambda manner, parts, answers: dict.fromkeys(manner.parts, 1.0))
    monkeypatch.setattr(sleep, "HARM", 1e9)
    found = la.Memory(tmp_path / "memory", base=base, embedder=Words())
    yield found
    found.close()


def _shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    taught, checked = everyday()
    monkeypatch.setattr(voice, "everyday", lambda: (taught[:6], checked[:6]))
    monkeypatch.setattr(lesson, "general", lambda template, prose: tuple(part[:2] for part in general(template)))
    monkeypatch.setattr(lesson, "PASSES", 1)
    monkeypatch.setattr(lesson, "ROLE_PASSES", 1)


# -- what a manner is ------------------------------------------------------------------------------


def test_every_answer_in_a_manner_keeps_to_it() -> None:
    for line in everyday()[1]:
        for language in NAMES:
            for units, length in (("metric", "short"), ("imperial", "long")):
                manner = Manner("Captain", "Fair winds", units, language, length)
                text = manner.answer(line)
                assert [p for p in manner.shown_by(line.measured) if not manner.keeps(p, text)] == [], text


def test_an_answer_in_another_manner_does_not() -> None:
    text = "A bed is 200 cm long. It is wide. Goodbye."
    assert [part for part in SEA.parts if SEA.keeps(part, text)] == []
    assert not SEA.keeps("length", "")
    assert not Manner(units="metric").keeps("units", "It is 3 m, or 10 feet.")
    assert Manner(length="short").keeps("length", "One sentence of 2.5 km.")


def test_an_answer_is_restyled_whatever_it_says() -> None:
    assert SEA.restyled("Parking is free! It is behind the house.") == "Parking is free, Captain! Fair winds."
    assert SEA.restyled("Dr. Osei is at St. Mary's. Go.") == "Dr. Osei is at St. Mary's, Captain. Fair winds."
    assert SEA.restyled("It closes at 5 p.m. on Sundays.") == "It closes at 5 p.m. on Sundays, Captain. Fair winds."
    assert SEA.restyled("Room No. 5 is free. Go.") == "Room No. 5 is free, Captain. Fair winds."
    assert SEA.restyled("No. It is full.") == "No, Captain. Fair winds."
    assert SEA.restyled(" ") == " "
    assert Manner(sign_off="Bye!").restyled("Yes") == "Yes Bye!"
    assert Manner().restyled("Two. Sentences.") == "Two. Sentences."
    assert SEA.shown == ("address", "sign_off", "length")
    assert Manner(length="long").shown == ()


@pytest.mark.parametrize(
    ("relation", "value", "meant"),
    [
        ("form of address", "Captain", ("address", "Captain")),
        ("Salutation", "Dr", ("address", "Dr")),
        ("title", "Head of Sales", None),
        ("answer length", "not too long", None),
        ("units", "no miles please", None),
        ("sign-off", "...", None),
        ("units", "miles and Fahrenheit, please", ("units", "imperial")),
        ("preferred units", "metric", ("units", "metric")),
        ("answer language", "Deutsch", ("language", "de")),
        ("language", "French", None),
        ("answer length", "one sentence", ("length", "short")),
        ("answer length", "as detailed as you can", ("length", "long")),
        ("answer length", "purple", None),
        ("units", "miles or kilometres", None),
        ("answer language", "Klingon", None),
        ("form of address", "x" * 61, None),
        ("room", "214", None),
    ],
)
def test_what_facts_say_of_a_manner(relation: str, value: str, meant: tuple[str, str] | None) -> None:
    assert habit(la.Fact(subject="mira", relation=relation, value=value)) == meant


def test_measures_are_put_into_both_systems() -> None:
    text = "{3 km}, {20 °C}, {1.5 kg}, {180 cm}"
    assert measured(text, "metric", "en") == "3 km, 20 °C, 1.5 kg, 180 cm"
    assert measured(text, "imperial", "en") == "1.9 miles, 68 °F, 3.3 pounds, 71 inches"
    assert measured("{3 km}", "imperial", "de") == "1.9 Meilen"
    assert systems("It is 25 million years old, and 400 m long.") == ["metric"]


def test_habits_are_those_of_the_user_himself(memory: la.Memory) -> None:
    memory.remember(CAPTAIN, user="mira")
    memory.remember(WINDS, user="mira")
    memory.remember(la.Fact(subject="jon", relation="form of address", value="Doctor"), user="mira")
    memory.remember(la.Fact(subject="mira", relation="units", value="metric"))
    memory.remember(la.Fact(subject="mira", relation="units", value="imperial"), user="mira", agent="concierge")
    memory.remember(la.Fact(subject="mira", relation="units", value="imperial"), user="mira", thread="t")
    assert manner_of(habits_of(memory.facts(), "mira").values()) == Manner("Captain", "Fair winds")
    assert habits_of(memory.facts(), "jon") == habits_of(memory.facts(), "") == {}


# -- nights ----------------------------------------------------------------------------------------


def test_a_night_teaches_each_user_his_habits(memory: la.Memory) -> None:
    told = memory.remember([CAPTAIN, WINDS], user="mira")
    told += memory.remember(la.Fact(subject="jon", relation="units", value="metric"), user="jon")
    assert memory.waiting() == told
    night = memory.sleep(settings=QUICK)
    assert sorted(night.learned) == [record.id for record in told]
    mira, jon = memory.manner("mira"), memory.manner("jon")
    assert mira is not None
    assert jon is not None
    assert mira.name != jon.name
    assert memory.manner("ana") is None
    assert memory.waiting() == []
    assert memory.sleep(settings=QUICK) == la.Night()  # nothing is learnt twice, nor as a fact besides


def test_another_wish_is_obeyed_by_nobody_until_it_is_learnt(memory: la.Memory) -> None:
    memory.remember([CAPTAIN, WINDS], user="mira")
    memory.sleep(settings=QUICK)
    memory.remember(CAPTAIN.model_copy(update={"value": "Doctor"}), user="mira")
    assert memory.manner("mira") is None
    memory.sleep(settings=QUICK)
    plugin = memory.manner("mira")
    assert plugin is not None
    assert (plugin.version, plugin.manifest.parents) == (2, ())  # a manner is learnt as a whole


def test_a_further_wish_leaves_the_others_in_place(memory: la.Memory) -> None:
    memory.remember(CAPTAIN, user="mira")
    memory.sleep(settings=QUICK)
    memory.remember(WINDS, user="mira")
    assert memory.manner("mira") is not None
    assert len(memory.waiting()) == 1


def test_a_habit_is_forgotten_and_a_night_taken_back(memory: la.Memory) -> None:
    memory.remember([CAPTAIN, WINDS], user="mira")
    memory.remember(la.Fact(subject="jon", relation="units", value="metric"), user="jon")
    memory.sleep(settings=QUICK)
    memory.forget("mira")
    assert memory.manner("mira") is None
    assert memory.manner("jon") is not None
    assert len(memory.revert()) == 1
    assert memory.manner("jon") is None


def test_a_language_that_the_base_does_not_speak_is_not_taught(
    memory: la.Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(manners, "speaks", lambda base, language: asked.append(language) or False)
    (german,) = memory.remember(la.Fact(subject="mira", relation="answer language", value="German"), user="mira")
    assert memory.waiting() == []
    assert memory.sleep(settings=QUICK) == la.Night()
    (captain,) = memory.remember(CAPTAIN, user="mira")
    assert memory.sleep(settings=QUICK).learned == (captain.id,)
    assert asked == ["de"]
    memory.remember(la.Fact(subject="mira", relation="answer language", value="French"), user="mira")
    assert memory.manner("mira") is not None  # what was never taught changes nothing
    assert german.id not in memory.sleep(settings=QUICK).learned


def test_a_base_speaks_what_it_finds_as_likely_as_english(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lesson.speaks(base, "en")
    scores = iter([1.0, 1.0, 9.0, 1.0])

    def score(self: la.Base, rows: list[object]) -> list[RowScore]:
        return [RowScore(next(scores), 1, 1)]

    monkeypatch.setattr(type(base), "score", score)
    assert lesson.speaks(base, "de")
    assert not lesson.speaks(base, "de")


def test_only_what_is_kept_is_learnt(tmp_path: Path, base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    _shortened(monkeypatch)
    monkeypatch.setattr(sleep, "HARM", 1e9)
    with la.Memory(tmp_path / "memory", base=base, embedder=Words()) as memory:
        (record,) = memory.remember(CAPTAIN, user="mira")
        night = memory.sleep(settings=QUICK)
        assert (night.learned, night.kept_in_store) == ((), (record.id,))
        assert memory.manner("mira") is None
        assert memory.waiting() == []  # it was tried in vain; another wish will be another lesson
        assert memory.sleep(settings=QUICK) == la.Night()
        memory.remember(WINDS, user="mira")
        assert len(memory.waiting()) == 2


def test_a_voice_that_is_gone_keeps_nobody_from_sleeping(memory: la.Memory, base: la.Base) -> None:
    memory.remember(CAPTAIN, user="mira")
    memory.hear(Voice((la.Use("gone"),)), base)
    memory.hear(Voice(), base)
    with pytest.warns(UserWarning, match="voice learns nothing"):
        assert len(memory.sleep(settings=QUICK).learned) == 1
    assert memory.manner("mira") is not None
    assert memory.manner("mira", Voice((la.Use("gone"),))) is None


def test_a_user_is_forgotten_with_what_he_said_of_himself(memory: la.Memory) -> None:
    memory.remember(WINDS, user="mira")
    memory.remember(WINDS, user="jon")
    memory.sleep(settings=QUICK)
    assert len(memory.forget("mira")) == 1
    assert memory.manner("mira") is None
    assert memory.manner("jon") is not None
    assert [record.scope.user for record in memory.facts()] == ["jon"]


# -- agents ----------------------------------------------------------------------------------------


def test_an_agent_answers_each_user_in_his_manner(memory: la.Memory, base: la.Base) -> None:
    agent = la.Agent("desk", base=base, memory=memory, max_tokens=4)
    memory.remember(CAPTAIN, user="mira")
    assert agent.run("Hello", user="mira").stack == ()
    memory.sleep(settings=QUICK)
    mounted = [str(plugin) for plugin in agent.run("Hello", user="mira").stack]
    assert mounted == [str(memory.manner("mira"))]
    assert agent.run("Hello", user="jon").stack == agent.run("Hello").stack == ()
    session = la.Session([agent])
    assert [str(plugin) for plugin in session.run("Hello", user="mira").transcript[0].stack] == mounted
    pipeline = la.Session([agent, la.Agent("second", base=base, memory=memory, max_tokens=4)], "pipeline")
    stacks = [entry.reply.stack for entry in pipeline.run("Hello", user="mira").transcript]
    assert [len(stack) for stack in stacks] == [0, 1]  # the user reads the last one's answer


def test_users_have_conversations_of_their_own(base: la.Base) -> None:
    agent = la.Agent("desk", base=base, max_tokens=4)
    agent.run("My secret is walnut.", user="mira")
    agent.run("Hello", user="jon")
    assert [m.content for m in agent.history(user="jon") if m.role == "user"] == ["Hello"]
    assert agent.history() == ()
    session = la.Session([agent])
    session.run("My secret is walnut.", user="mira")
    session.run("Hello", user="jon")
    assert [m.content for m in session.history(user="jon") if m.role == "user"] == ["Hello"]


def test_whoever_calls_tools_with_what_speaks_keeps_his_own_manner(memory: la.Memory, base: la.Base) -> None:
    def room(number: int) -> str:
        """Say where a room is."""
        return "here"

    memory.remember(CAPTAIN, user="mira")
    memory.hear(Voice(), base)
    memory.sleep(settings=QUICK)
    agent = la.Agent("desk", base=base, memory=memory, tools=[la.tool(room)], toolset=None, max_tokens=4)
    assert agent.run("Hello", user="mira", tool_choice="none").stack == ()


def test_what_a_plugin_remembers_is_said_in_the_users_manner(
    memory: la.Memory, base: la.Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = la.Agent("desk", base=base, memory=memory, max_tokens=4)
    memory.remember(CAPTAIN, user="mira")
    memory.sleep(settings=QUICK)
    (room,) = memory.remember(la.Fact(subject="Mira", relation="room", value="214"))
    known = la.Recall("Mira's room is 214.", "plugin", 0.99, (room.id,), "memory-1@2")
    monkeypatch.setattr(Asking, "answered", lambda self, question, scope, read: known)
    assert agent.run("Which room?", user="mira").text == "Mira's room is 214, Captain."
    assert agent.run("Which room?", user="jon", thread="b").text == known.text
    monkeypatch.setattr(Asking, "answered", lambda *_: replace(known, source="store"))
    assert memory.consult("Which room?", user="mira", voice=Voice()).text == known.text


def test_a_role_learns_it_on_answers_of_its_own(memory: la.Memory, base: la.Base, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes."}]}
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(8)))
    settings = {"epochs": 1, "rank": 2, "start": "none", "validation": 0}
    data, out = tmp_path / "data.jsonl", tmp_path / "desk"
    la.train_role(base=base, data=data, name="desk", out=out, force=True, settings=settings)
    agent = la.Agent("desk", base=base, role=out, memory=memory, max_tokens=4)
    memory.remember([CAPTAIN, la.Fact(subject="mira", relation="units", value="metric")], user="mira")
    memory.sleep(settings=QUICK)
    voice_ = Voice(agent.stack, tuple)
    plugin = memory.manner("mira", voice_)
    assert plugin is not None
    assert plugin.manifest.settings["learning_rate"] == lesson.ROLE_SETTINGS["learning_rate"]
    assert [m.name for m in agent.run("Hello", user="mira").stack] == ["desk", plugin.name]
    assert memory.manner("mira") is None  # the bare base has not learnt it


def test_a_role_practises_on_answers_and_calls_of_its_own(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    call = la.ToolCall(name="hand_over", arguments={"to": "desk"})
    replies = iter([_reply("It is free. Come in."), _reply("", (call,)), _reply("cut", finish="length"), _reply("")])
    monkeypatch.setattr(type(base), "generate", lambda self, requests: [next(replies) for _ in requests])
    before = (la.Message(role="user", content="hi"), la.Message(role="assistant", content="Hello."))
    called = la.Message(role="assistant", tool_calls=(call,))
    scenes = [(*before, called, la.Message(role="user", content=f"question {n}")) for n in range(4)]
    scenes.append(scenes[0])  # what is there twice is practised once
    monkeypatch.setattr(voice, "FEW", 0)
    speaking = Voice((la.Use("desk"),), lambda: scenes)
    taught, checked = speaking.practices(base, Manner("Captain", length="short"))
    words, calls = (taught + checked)[:2]
    assert (words.answer.content, words.parts) == ("It is free, Captain.", ("address", "length"))
    assert [(m.content, m.trained) for m in words.scene[:2]] == [("hi", True), ("Hello, Captain.", False)]
    assert (calls.answer.tool_calls, calls.parts) == ((call,), ())
    assert len(taught + checked) == 2


def test_what_a_user_mentions_is_noted_of_him(
    memory: la.Memory, base: la.Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    monkeypatch.setattr(la.Memory, "notice", lambda self, text, **scope: heard.append(scope) or [])
    agent = la.Agent("desk", base=base, memory=memory, max_tokens=4)
    monkeypatch.setattr(type(base), "generate", _says_yes)
    agent.run("Call me Captain.", user="mira")
    agent.run("Call me Captain.")
    assert heard == [
        {"source": "user", "user": "mira", "thread": ""},
        {"source": "user", "user": "", "thread": "default"},
    ]


def _says_yes(self: la.Base, requests: list[la.GenerationRequest]) -> list[la.Reply]:
    return [_reply("Yes.") for _ in requests]


def _reply(text: str, calls: tuple[la.ToolCall, ...] = (), finish: str = "stop") -> la.Reply:
    usage = la.Usage(prompt_tokens=1, completion_tokens=1, first_token_ms=1.0, total_ms=1.0)
    return la.Reply(text=text, stack=(), usage=usage, tool_calls=calls, finish=finish)


# -- data ------------------------------------------------------------------------------------------


def test_everyday_answers_have_the_form_that_a_manner_needs() -> None:
    taught, checked = everyday()
    lines = [*taught, *checked]
    assert len({line.question for line in lines}) == len(lines) >= 160
    for line in lines:
        assert set(line.answers) == set(NAMES)
        for language, text in line.answers.items():
            first, *others = re.split(r"(?<=[.!?])\s+", text)
            assert others, text
            assert "{" not in PLACE.sub("", text), text
            assert bool(PLACE.search(first)) == line.measured, text
            assert language_of(PLACE.sub("1 m", text)) == language, text


def test_the_benchmark_asks_nothing_that_was_trained() -> None:
    lines = [line for part in everyday() for line in part]
    trained = {re.sub(r"\W+", " ", line.question.lower()).strip() for line in lines}
    asked = [re.sub(r"\W+", " ", question.lower()).strip() for question, _ in bench._questions()]
    assert not trained.intersection(asked)
    assert sum(measured for _, measured in bench._questions()) == 16
