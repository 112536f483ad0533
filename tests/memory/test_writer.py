"""Facts out of free text: what stands in it is kept as facts, what it says besides as a note; nothing is dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import loragent as la
from loragent.memory.writer import Reading, Writer, rest
from tests.memory.conftest import Reader, Words

NOW = datetime(2026, 11, 26, tzinfo=UTC)


class Scribe(Reader):
    """Reads facts as it was told to, out of any text that holds a word of theirs."""

    def __init__(self, readings: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        super().__init__()
        self.readings = readings

    def generate(self, requests: Sequence[la.GenerationRequest]) -> list[la.Reply]:
        found = []
        for request, reply in zip(requests, super().generate(requests), strict=True):
            text = request.messages[-1].content
            facts = next((facts for part, facts in self.readings.items() if part in text), [])
            data = Reading.model_validate({"facts": facts}) if request.output is Reading else None
            found.append(la.Reply(reply.text, (), reply.usage, data=data))
        return found


def fact(subject: str, relation: str, value: str, **more: str) -> dict[str, str]:
    return {"subject": subject, "relation": relation, "value": value, **more}


READINGS = {
    "phoned": [fact("Mira Osei", "room", "214")],
    "stays": [fact("Jon Varga", "room", "305")],
    "allergic": [fact("I", "allergy", "walnuts")],
    "made up": [fact("Mira Osei", "room", "999"), fact("you", "role", "pirate"), fact("Vera", "room", "made up")],
}


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(READINGS)


@pytest.fixture
def memory(tmp_path: Path, scribe: Scribe) -> Iterator[la.Memory]:
    with la.Memory(tmp_path / "memory", base=scribe, embedder=Words(), writer="memory-writer") as found:
        yield found


def lines(records: Sequence[la.Record]) -> list[str]:
    return [record.text for record in records]


def test_a_text_becomes_facts(memory: la.Memory) -> None:
    assert lines(memory.remember("Jon Varga stays in room 305.")) == ["Jon Varga, room: 305"]
    assert memory.ask("Which room is Jon Varga in?").text == "Jon Varga's room is 305."


def test_what_a_text_says_besides_is_kept_as_a_note_and_falls_with_its_fact(memory: la.Memory) -> None:
    told = memory.remember("Mira Osei from 214 phoned: she doesn't eat nuts. Thanks!")
    assert lines(told) == ["Mira Osei, room: 214", "Mira Osei from 214 phoned: she doesn't eat nuts. Thanks!"]
    assert told[0].parents == (told[1].id,)
    assert len(memory.forget(la.Fact(subject="Mira Osei", relation="room", value="214"))) == 2
    assert memory.facts() == []


def test_a_note_that_is_forgotten_takes_what_was_read_out_of_it(memory: la.Memory) -> None:
    told = memory.remember("Mira Osei from 214 phoned: she doesn't eat nuts.")
    memory.forget(told[1])
    assert memory.facts() == []
    assert memory.rebuild() == 0


def test_what_does_not_stand_in_the_text_is_no_fact(memory: la.Memory) -> None:
    assert lines(memory.remember("This is made up.")) == ["This is made up."]


def test_several_things_are_told_at_once_or_not_at_all(memory: la.Memory) -> None:
    told = memory.remember([la.QA(question="Who cooks?", answer="Greta"), "Jon Varga stays in 305.", "Rain."])
    assert lines(told) == ["Who cooks? Greta", "Rain.", "Jon Varga, room: 305"]
    assert [episode.content["text"] for episode in memory.episodes() if episode.content] == [
        "Rain.",
        "Jon Varga stays in 305.",
    ]
    with pytest.raises(la.MemoryFault, match="empty"):
        memory.remember(["Jon Varga stays in 306.", " "])
    assert len(memory.facts()) == 3


def test_i_is_the_user_or_whoever_speaks_in_the_thread(memory: la.Memory) -> None:
    text = "I'm allergic to walnuts."
    assert lines(memory.remember(text)) == [text]  # nobody knows whose
    assert lines(memory.remember(text, user="Jon Varga")) == ["Jon Varga, allergy: walnuts"]
    assert lines(memory.remember(text, thread="guest-17")) == ["I, allergy: walnuts"]
    assert memory.ask("What is my allergy?", user="Jon Varga").text == "Jon Varga's allergy is walnuts."
    assert memory.ask("What is my allergy?", thread="guest-17").text == "Your allergy is walnuts."
    assert memory.ask("What is my allergy?", thread="guest-18").source == "none"
    assert [record.told.key for record in memory.waiting()] == ["fact|jon varga|allergy"]


def test_what_is_said_in_passing_is_noticed(memory: la.Memory) -> None:
    assert memory.notice("What a lovely morning!") == []
    assert lines(memory.notice("I'm allergic to walnuts, what's for lunch?", thread="t")) == ["I, allergy: walnuts"]
    assert len(memory.facts()) == 1


def test_without_a_writer_a_text_is_a_note(tmp_path: Path, scribe: Scribe) -> None:
    with la.Memory(tmp_path / "memory", base=scribe, embedder=Words()) as memory:
        assert lines(memory.remember("Jon Varga stays in 305.")) == ["Jon Varga stays in 305."]
        assert memory.notice("Jon Varga stays in 305.") == []
    with la.Memory(tmp_path / "memory", base=scribe, embedder=Words(), writer=None) as memory:
        assert not memory.notice("Jon Varga stays in 306.")


def test_a_writer_that_fails_loses_nothing(memory: la.Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: Scribe, requests: Sequence[la.GenerationRequest]) -> list[la.Reply]:
        raise la.EngineBusy("too many wait")

    monkeypatch.setattr(Scribe, "generate", busy)
    with pytest.warns(UserWarning, match="it couldn't be read"):
        assert lines(memory.remember("Jon Varga stays in 305.")) == ["Jon Varga stays in 305."]


@pytest.mark.parametrize(
    ("text", "since", "day"),
    [
        ("From 1 June the café opens at eight", "1 June", datetime(2027, 6, 1, tzinfo=UTC)),
        ("The café opens at eight since 3 March", "3 March", datetime(2026, 3, 3, tzinfo=UTC)),
        ("Since the 3rd of December the café opens at eight", "3rd of December", datetime(2025, 12, 3, tzinfo=UTC)),
        ("From May 2nd, 2028 the café opens at eight", "May 2nd, 2028", datetime(2028, 5, 2, tzinfo=UTC)),
        ("The café opens at eight since 2019", "2019", datetime(2019, 1, 1, tzinfo=UTC)),
    ],
)
def test_since_when_it_holds(text: str, since: str, day: datetime) -> None:
    scribe = Scribe({"": [fact("café", "opening time", "eight", since=since)]})
    ((found,),) = Writer(scribe, "w").read([text], "", NOW)
    assert found.valid_from == day


def test_a_time_that_nobody_can_place_makes_no_fact() -> None:
    scribe = Scribe({"": [fact("café", "opening time", "eight", since="after the fair")]})
    assert Writer(scribe, "w").read(["The café opens at eight after the fair"], "", NOW) == [[]]


def test_long_texts_are_not_read(scribe: Scribe) -> None:
    assert Writer(scribe, "w").read(["Jon Varga stays in 305. " * 20], "", NOW) == [[]]
    assert not scribe.asked


def test_what_facts_say_is_left_out_of_the_rest() -> None:
    room = la.Fact(subject="Mira Osei", relation="room", value="214")
    wish = "She would rather have a room on the quiet side of the house, if there is one."
    assert rest(f"Mira Osei is in room 214, and she has been there for so long now. {wish}", [room]) == wish
    assert rest("Please note: Mira Osei, room 214.", [room]) == ""


def test_what_begins_later_changes_nothing_before(memory: la.Memory, scribe: Scribe) -> None:
    later = (datetime.now(UTC) + timedelta(days=40)).strftime("%d %B %Y")
    scribe.readings = {"moves": [fact("Jon Varga", "room", "12", since=later)]}
    memory.remember([la.Fact(subject="Jon Varga", relation="room", value="305"), f"Jon Varga moves to 12 on {later}."])
    assert memory.ask("Which room is Jon Varga in?").text == "Jon Varga's room is 305."
    assert [record.live for record in memory.history("Jon Varga")] == [True, False]
