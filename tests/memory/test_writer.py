"""Facts out of free text: what stands in it is kept as facts, what it says besides as a note; nothing is dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import loragent as la
from loragent.core import Usage
from loragent.memory.ledger import Ledger
from loragent.memory.passages import pieces
from loragent.memory.phrases import answer
from loragent.memory.writer import NAME, Reading, Writer, form_of, likely, rest, writer_of
from loragent.plugin import shipped
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
            data = {"facts": facts} if isinstance(request.output, dict) else None
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


def test_subjects_and_values_are_copied_from_the_text() -> None:
    text = "Mr O'Neill's code (for \"Old Mill\") is 2580#, since May."
    found = pieces(text)
    assert {"Mr O'Neill", "2580#", "Old Mill", "May", "Mr O'Neill's code"} <= set(found)
    assert not {"", "ill", "O'Ne"} & set(found)
    assert all(piece in text for piece in found)
    fields = form_of(text)["$defs"]["_Read"]["properties"]
    assert fields["subject"]["enum"] == ["I", *found]
    assert fields["value"]["enum"] == fields["since"]["enum"] == found
    assert pieces("?!") == ["?!"]


PHONED = "Mira Osei from 214 phoned this morning, and says that she doesn't eat nuts."


def lines(records: Sequence[la.Record]) -> list[str]:
    return [record.text for record in records]


def test_a_text_becomes_facts(memory: la.Memory) -> None:
    assert lines(memory.remember("Jon Varga stays in room 305.")) == ["Jon Varga, room: 305"]
    assert memory.ask("Which room is Jon Varga in?").text == "Jon Varga's room is 305."


def test_what_a_text_says_besides_is_kept_as_a_note_and_falls_with_its_fact(memory: la.Memory) -> None:
    told = memory.remember(f"{PHONED} Her suitcase is still at the airport, and nobody knows in which one.")
    assert lines(told) == [
        "Mira Osei, room: 214",
        f"{PHONED} Her suitcase is still at the airport, and nobody knows in which one.",
    ]
    assert told[0].parents == (told[1].id,)
    assert len(memory.forget(la.Fact(subject="Mira Osei", relation="room", value="214"))) == 2
    assert lines(memory.facts()) == ["Her suitcase is still at the airport, and nobody knows in which one."]


def test_a_note_that_says_a_forgotten_fact_goes_though_the_fact_was_told_before(memory: la.Memory) -> None:
    room = la.Fact(subject="Mira Osei", relation="room", value="214")
    memory.remember(room)
    memory.remember(PHONED)
    assert lines(memory.forget(room)) == ["Mira Osei, room: 214", PHONED]
    assert memory.facts() == []


def test_what_else_was_read_out_of_a_text_stays(memory: la.Memory, scribe: Scribe) -> None:
    scribe.readings = {"quiet": [fact("Mira Osei", "room", "214"), fact("Jon Varga", "room", "305")]}
    memory.remember("Mira Osei is in 214 and Jon Varga in 305, both would rather be on the quiet side.")
    memory.forget("Mira Osei")
    assert lines(memory.facts()) == ["Jon Varga, room: 305"]


def test_i_is_not_to_be_forgotten_by_that_word(memory: la.Memory) -> None:
    (record,) = memory.remember("I'm allergic to walnuts.", thread="guest-17")
    for what in ("I", record.told):
        with pytest.raises(la.MemoryFault, match="somebody else in each thread"):
            memory.forget(what)
    assert memory.forget(record) == [record]


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


def test_a_disk_that_fails_half_way_leaves_nothing(memory: la.Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    tell, calls = Ledger.tell, iter((True, False))

    def failing(self: Ledger, *args: Any, **more: Any) -> list[la.Record]:
        if not next(calls):
            raise la.MemoryFault("disk is full", "free some space")
        return tell(self, *args, **more)

    monkeypatch.setattr(Ledger, "tell", failing)
    with pytest.raises(la.MemoryFault, match="disk is full"):
        memory.remember([la.QA(question="Who cooks?", answer="Greta"), "Jon Varga stays in 305."])
    assert (memory.facts(), memory.episodes()) == ([], [])


def test_i_is_the_user_or_whoever_speaks_in_the_thread(memory: la.Memory) -> None:
    text = "I'm allergic to walnuts."
    assert lines(memory.remember(text)) == [text]  # nobody knows whose
    assert lines(memory.remember(text, user="Jon Varga")) == ["Jon Varga, allergy: walnuts"]
    assert lines(memory.remember(text, thread="guest-17")) == ["I, allergy: walnuts"]
    assert memory.ask("What is my allergy?", user="Jon Varga").text == "Jon Varga's allergy is walnuts."
    assert memory.ask("What is my allergy?", thread="guest-17").text == "Your allergy is walnuts."
    assert memory.ask("What is my allergy?", thread="guest-18").source == "none"
    assert lines(memory.remember(text, agent="desk")) == [text]
    assert memory.waiting() == []  # what is one user's, or one thread's, is taught to no plugin that all read


def test_a_user_of_any_name_may_ask(memory: la.Memory) -> None:
    memory.remember("I'm allergic to walnuts.", user=r"CORP\jvarga")
    assert memory.ask("What is my allergy?", user=r"CORP\jvarga").source == "store"
    assert memory.ask("What is my allergy?", user="i.petrov").source == "none"


def test_what_is_known_in_one_thread_does_not_hide_what_is_asked_in_another(memory: la.Memory) -> None:
    memory.remember(la.Fact(subject="Mira Osei", relation="room", value="214"))
    memory.remember(la.Fact(subject="Mira Novak", relation="room", value="12"), thread="guest-17")
    memory.remember("I'm allergic to walnuts.", thread="guest-17")
    found = memory.match("Which room do I find Mira in?", thread="guest-18")
    assert found is not None
    assert found.record.text == "Mira Osei, room: 214"


def test_what_is_told_for_a_thread_comes_before_what_is_told_to_everybody(memory: la.Memory) -> None:
    for value, thread in (("214", ""), ("305", "t")):
        memory.remember(la.Fact(subject="Mira Osei", relation="room", value=value), thread=thread)
    assert memory.ask("Which room is Mira Osei in?", thread="t").text == "Mira Osei's room is 305."
    assert memory.ask("Which room is Mira Osei in?").text == "Mira Osei's room is 214."
    assert len(memory.waiting()) == 1  # what is one thread's is no plugin's


def test_what_is_this_to_one_and_that_to_another_is_not_taught(memory: la.Memory) -> None:
    for value, user in (("214", "a"), ("305", "b")):
        memory.remember(la.Fact(subject="Ines", relation="room", value=value), user=user)
    assert memory.waiting() == []


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
    with pytest.warns(UserWarning, match="no facts were read"):
        assert lines(memory.remember("Jon Varga stays in 305.")) == ["Jon Varga stays in 305."]


@pytest.mark.parametrize(
    ("text", "since", "day"),
    [
        ("From 1 June the café opens at eight", "1 June", datetime(2027, 6, 1, tzinfo=UTC)),
        ("From the 3rd of December the café opens at eight", "3rd of December", datetime(2026, 12, 3, tzinfo=UTC)),
        ("Since the 3rd of December the café opens at eight", "3rd of December", None),
        ("From May 2nd, 2028 the café opens at eight", "May 2nd, 2028", datetime(2028, 5, 2, tzinfo=UTC)),
        ("The café opens at eight since 2019", "2019", None),
    ],
)
def test_what_begins_later_holds_later(text: str, since: str, day: datetime | None) -> None:
    scribe = Scribe({"": [fact("café", "opening time", "eight", since=since)]})
    ((found,),) = Writer(scribe, "w").read([text], "", NOW)
    assert found.valid_from == day


@pytest.mark.parametrize(("day", "ahead"), [("Friday", 1), ("monday", 4), ("Wednesday", 6)])
def test_what_begins_on_a_weekday_begins_on_the_next(day: str, ahead: int) -> None:
    scribe = Scribe({"": [fact("café", "opening time", "eight", since=day)]})
    thursday = NOW.replace(hour=12)
    ((found,),) = Writer(scribe, "w").read([f"The café opens at eight from {day} on"], "", thursday)
    assert found.valid_from == NOW + timedelta(days=ahead)


def test_what_begins_today_begins() -> None:
    scribe = Scribe({"": [fact("café", "opening time", "eight", since="26 November")]})
    noon = NOW.replace(hour=12)
    ((found,),) = Writer(scribe, "w").read(["From 26 November the café opens at eight"], "", noon)
    assert found.valid_from is None


@pytest.mark.parametrize(
    "read",
    [
        [fact("café", "opening time", "eight", since="1 June")],  # made up
        [fact("café", " ", "eight")],
        [fact("it", "opening time", "eight")],
        [fact("café", "opening time", "eight"), fact("café", "opening time", "nine")],
    ],
)
def test_what_can_not_be_meant_makes_no_fact(read: list[dict[str, str]]) -> None:
    text = "The café says it opens at eight, or nine."
    assert Writer(Scribe({"": read}), "w").read([text], "", NOW) == [[]]


def test_one_reading_that_fails_does_not_spoil_the_others(scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = Scribe.generate

    def cut(self: Scribe, requests: Sequence[la.GenerationRequest]) -> list[la.Reply]:
        if any("phoned" in request.messages[-1].content for request in requests):
            raise la.EngineBusy(3)
        return generate(self, requests)

    monkeypatch.setattr(Scribe, "generate", cut)
    with pytest.warns(UserWarning, match="phoned"):
        first, second = Writer(scribe, "w").read([PHONED, "Jon Varga stays in 305."], "", NOW)
    assert (first, [item.text for item in second]) == ([], ["Jon Varga, room: 305"])


def test_what_i_do_is_said_as_what_you_do() -> None:
    assert answer(la.Fact(subject="I", relation="collects", value="bells")) == "You collect bells."
    assert answer(la.Fact(subject="Jon", relation="collects", value="bells")) == "Jon collects bells."


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


def test_the_shipped_writer_is_for_its_own_base(base: la.Base, memory: la.Memory) -> None:
    assert shipped(NAME) is not None
    assert writer_of(base, "auto") is None  # a tiny base; the shipped one is made for the default base
    assert writer_of(None, "auto") is None
    assert writer_of(base, "another") is not None


def test_of_facts_the_likely_ones_are_kept(base: la.Base) -> None:
    reading = Reading.model_validate({"facts": [fact("Mira", "room", "214"), fact("Jon", "room", "12", since="May")]})
    raw = json.dumps({"facts": [fact.model_dump(exclude_none=True) for fact in reading.facts]})
    ids = base.template.ids(raw)
    ends = [len(base.template.decode(ids[: n + 1])) for n in range(len(ids))]

    def kept(doubtful: str) -> list[str]:
        """What is kept if the plugin is in doubt about the token in which something ends."""
        unsure = next(n for n, end in enumerate(ends) if end >= raw.index(doubtful) + len(doubtful))
        logprobs = tuple(-0.8 if n == unsure else -0.001 for n in range(len(ids)))
        reply = la.Reply(raw, (), Usage(0, 0, 0.0, 0.0), raw=raw, token_ids=tuple(ids), logprobs=logprobs)
        return [item.subject for item in likely(reading, reply, base.template.decode).facts]

    assert kept('{"facts"') == ["Mira", "Jon"]
    assert kept("Mir") == kept("214") == ["Jon"]
    assert kept("Jo") == kept("12") == kept("May") == ["Mira"]
    assert kept('"room') == ["Mira", "Jon"]  # how a relation is called is no matter of right and wrong
