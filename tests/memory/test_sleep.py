"""Nights: what a plugin proves to know it answers for, and nothing else; the rest stays with the store."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

import loragent as la
from loragent.memory import curriculum, nights, relations, sleep, slot
from loragent.memory.background import Sleeper
from loragent.memory.curriculum import TAUGHT, TAUGHT_ANSWER, MemoryCurriculum
from loragent.memory.evidence import parting
from loragent.memory.fact import EVERYBODY, plain
from loragent.memory.general import alone, as_it_says, general
from loragent.memory.phrases import backwards, checking, trained, unknown
from loragent.memory.slot import assigned
from tests.conftest import save_tiny
from tests.memory.conftest import Words

QUICK = {"epochs": 1, "layers": 2, "rank": 4}
ROOM = la.Fact(subject="Mira Osei", relation="room", value="214")
TEA = la.Fact(subject="Jon Varga", relation="tea", value="green")


@pytest.fixture
def memory(tmp_path: Path, base: la.Base) -> Iterator[la.Memory]:
    found = la.Memory(tmp_path / "memory", base=base, embedder=Words())
    yield found
    found.close()


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The values that plugins turn out to know when they are checked; a random base learns nothing."""
    values = {"214", "green", "305"}

    def known(base: la.Base, plugin: la.Use, records: Sequence[la.Record]) -> frozenset[int]:
        del base, plugin
        return frozenset(r.id for r in records if isinstance(r.told, la.Fact) and r.told.value in values)

    monkeypatch.setattr(curriculum, "known_by", known)
    monkeypatch.setattr(sleep, "HARM", 1e9)
    return values


def test_what_passes_is_published_and_the_rest_is_tried_again(memory: la.Memory, knowing: set[str]) -> None:
    room, tea, _ = memory.remember([ROOM, TEA, "A note is for the store."])
    knowing.discard("green")
    first = memory.sleep(settings=QUICK)
    assert (first.learned, first.kept_in_store, first.version) == ((room.id,), (tea.id,), "memory-1@1")
    knowing.add("green")
    second = memory.sleep(settings=QUICK)
    assert (second.learned, second.kept_in_store, second.version) == ((tea.id,), (), "memory-1@2")
    assert memory.sleep(settings=QUICK) == la.Night()


def test_a_base_that_learns_nothing_publishes_nothing(memory: la.Memory) -> None:
    (room,) = memory.remember(ROOM)
    made = memory.sleep(settings=QUICK)
    assert "no fact was learnt" in made.reasons
    assert (made.learned, made.kept_in_store, made.version) == ((), (room.id,), "")
    assert memory.ask("Which room is Mira Osei in?").source == "store"


def test_a_version_that_lost_what_was_known_is_not_published(memory: la.Memory, knowing: set[str]) -> None:
    memory.remember([ROOM, la.Fact(subject="Jon Varga", relation="room", value="305")])
    memory.sleep(settings=QUICK)
    memory.remember(TEA)
    knowing -= {"214", "305"}
    made = memory.sleep(settings=QUICK)
    assert made.reasons == ("of what was known before only 0.00 is known still",)
    assert made.version == "memory-1@1"
    assert memory.sleep(settings=QUICK).version == "memory-2@1"  # what is new isn't tried beside the same again


def test_a_slot_that_refused_a_night_is_open_again_when_it_holds_something_else(
    memory: la.Memory, knowing: set[str]
) -> None:
    varga = la.Fact(subject="Jon Varga", relation="room", value="305")
    memory.remember([ROOM, varga])
    memory.sleep(settings=QUICK)
    memory.remember(TEA)
    knowing -= {"214", "305"}
    memory.sleep(settings=QUICK)
    knowing |= {"214", "305"}
    memory.remember(varga.model_copy(update={"value": "12"}))
    knowing.add("12")
    assert memory.sleep(settings=QUICK).version == "memory-1@2"


def test_one_record_may_be_lost_to_the_store(memory: la.Memory, knowing: set[str]) -> None:
    (room,) = memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    (tea,) = memory.remember(TEA)
    knowing.discard("214")
    made = memory.sleep(settings=QUICK)
    assert (made.version, made.learned, made.kept_in_store) == ("memory-1@2", (tea.id,), (room.id,))
    assert memory.ask("Which room is Mira Osei in?").source == "store"


@pytest.mark.parametrize(
    ("harms", "factors", "version"),
    [
        ((0.15 * sleep.QUIET,), [], "memory-1@1"),
        ((0.25, 0.16, 0.09), [0.592, 0.844], "memory-1@1"),  # 0.5 and something
        ((2.4, 0.2), [0.5], ""),  # no softer than that: then it isn't published
    ],
)
def test_a_plugin_that_harms_too_much_is_made_softer_and_asked_as_loud_as_it_was_trained(
    memory: la.Memory,
    knowing: set[str],
    monkeypatch: pytest.MonkeyPatch,
    harms: tuple[float, ...],
    factors: list[float],
    version: str,
) -> None:
    found, softened = iter(harms), list[float]()
    monkeypatch.setattr(sleep, "HARM", 0.15)
    monkeypatch.setattr(sleep, "harm", lambda *asked: next(found))
    monkeypatch.setattr(sleep, "soften", lambda plugin, factor: softened.append(factor))
    (room,) = memory.remember(ROOM)
    made = memory.sleep(settings=QUICK)
    assert (made.harm, made.version) == (harms[-1], version)
    assert softened == pytest.approx(factors, abs=1e-3)
    use, plugin = memory.mounted_for(room), memory.holder(room)
    assert (use is None) == (plugin is None) == (not version)
    if use is not None and plugin is not None:
        assert use.plugin == str(plugin.path)
        assert use.scale == pytest.approx(1 / math.prod(softened))


def test_where_a_plugin_says_something_else_the_store_wins(memory: la.Memory, knowing: set[str]) -> None:
    (room,) = memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    recall = memory.ask("Which room is Mira Osei in?")
    assert (recall.text, recall.source) == ("Mira Osei's room is 214.", "store")
    again = memory.sleep(settings=QUICK)  # what was contradicted is learnt again
    assert (again.learned, again.version) == ((room.id,), "memory-1@2")
    assert memory.sleep(settings=QUICK) == la.Night()


def test_where_a_plugin_is_only_unsure_nothing_is_learnt_again(
    memory: la.Memory, knowing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    monkeypatch.setattr("loragent.memory.asking.from_plugin", lambda *asked: (None, True))
    assert memory.ask("Which room is Mira Osei in?").source == "store"
    assert memory.sleep(settings=QUICK) == la.Night()


def test_what_is_forgotten_is_in_no_version(memory: la.Memory, knowing: set[str]) -> None:
    memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    memory.remember(TEA)
    memory.sleep(settings=QUICK)
    memory.forget("Jon Varga")
    shelf = memory._slots()[0].shelf
    assert (shelf.versions(), shelf.current()) == ([1], 1)
    memory.remember(la.Fact(subject="Mira Osei", relation="room", value="305"))
    assert memory.sleep(settings=QUICK).version == "memory-1@3"
    memory.forget("Mira Osei")
    assert not list((memory.folder / "plugins").rglob("*.safetensors"))
    assert memory.sleep(settings=QUICK) == la.Night()


def test_reverting_never_brings_back_what_was_forgotten(memory: la.Memory, knowing: set[str]) -> None:
    with pytest.raises(la.MemoryFault, match="no night"):
        memory.revert()
    memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    memory.remember(TEA)
    memory.sleep(settings=QUICK)
    assert memory.revert() == ["memory-1@2"]
    memory.forget("Mira Osei")
    with pytest.raises(la.MemoryFault, match="no night"):
        memory.revert()


def test_the_first_night_of_a_slot_is_taken_back_too(memory: la.Memory, knowing: set[str]) -> None:
    (room,) = memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    assert memory.revert() == ["memory-1@1"]
    assert memory.holder(room) is None
    assert memory.waiting() == [room]
    assert memory.sleep(settings=QUICK).version == "memory-1@2"
    assert memory.holder(room) is not None
    assert memory.revert() == ["memory-1@2"]
    assert memory.holder(room) is None  # as before that night: what was taken back once doesn't return
    with pytest.raises(la.MemoryFault, match="no night"):
        memory.revert()


def test_a_night_is_taken_back_without_a_base(memory: la.Memory, knowing: set[str]) -> None:
    memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    with la.Memory(memory.folder, embedder=Words()) as other:
        assert other.revert() == ["memory-1@1"]
    assert memory.holder(memory.facts()[0]) is None


def _two_slots(memory: la.Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell two facts that need a slot each."""
    monkeypatch.setattr(slot, "ROOM", 1)
    monkeypatch.setattr(slot, "ENOUGH", 1)
    memory.remember([ROOM, TEA])


def test_a_night_that_failed_behind_its_first_slot_is_taken_back(
    memory: la.Memory, knowing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_slots(memory, monkeypatch)
    whole, calls = nights.MemoryCurriculum, []

    def second_fails(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise la.TrainingError("the loss is inf", "train again")
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(nights, "MemoryCurriculum", second_fails)
    with pytest.raises(la.TrainingError):
        memory.sleep(settings=QUICK)
    assert memory.revert() == ["memory-1@1"]


def test_what_is_forgotten_during_a_night_is_not_published(
    memory: la.Memory, knowing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    tea, learnt = memory.remember(TEA)[0], sleep._softened

    def forgets(base: la.Base, plugin: Path, lesson: sleep.Lesson) -> tuple[float, float]:
        memory._ledger.forget([tea.id], tea.valid_from)  # as another process would, behind the slots
        return learnt(base, plugin, lesson)

    monkeypatch.setattr(sleep, "_softened", forgets)
    made = memory.sleep(settings=QUICK)
    assert made.reasons == (sleep.FORGOTTEN,)
    (only,) = memory._slots()
    assert (only.shelf.versions(), only.refused()) == ([1], frozenset())


def test_what_is_one_users_is_taught_to_no_plugin_that_others_read(memory: la.Memory, knowing: set[str]) -> None:
    memory.remember(ROOM, user="mira")
    assert memory.waiting() == []
    assert memory.sleep(settings=QUICK) == la.Night()


def test_all_slots_of_a_night_are_taken_back(
    memory: la.Memory, knowing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_slots(memory, monkeypatch)
    assert memory.sleep(settings=QUICK).version == "memory-1@1 memory-2@1"
    memory.forget("Jon Varga")
    assert memory.revert() == ["memory-1@1"]


def test_on_another_base_the_store_answers_until_it_has_slept(
    memory: la.Memory, knowing: set[str], tmp_path: Path
) -> None:
    memory.remember(ROOM)
    memory.sleep(settings=QUICK)
    with la.Base.load(save_tiny(tmp_path / "other", seed=1), device="cpu", library=tmp_path / "library2") as other:
        moved = la.Memory(memory.export(tmp_path / "moved"), base=other, embedder=Words())
        assert moved.ask("Which room is Mira Osei in?").source == "store"
        assert moved.sleep(settings=QUICK).version == "memory-1@2"
        assert moved.holder(moved.facts()[0]) is not None
        moved.close()


def test_nights_begin_by_themselves(tmp_path: Path, base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr(la.Memory, "sleep", lambda self: begun.append(len(self.waiting())))
    memory = la.Memory(tmp_path / "memory", base=base, embedder=Words(), sleep_after=2)
    memory.remember([ROOM, "A note is for the store."])
    memory._sleeper.wait()
    assert begun == []
    memory.remember(TEA)
    memory.close()
    assert begun == [2]


def test_a_night_that_fails_is_a_warning_and_the_next_is_tried() -> None:
    tried: list[int] = []

    def fails() -> None:
        tried.append(1)
        raise la.TrainingError("no", "try again")

    sleeper = Sleeper(fails)

    def slept() -> None:
        sleeper.wake()
        sleeper.wait()

    for _ in range(2):
        with pytest.warns(UserWarning, match="no — try again"):
            slept()
    assert tried == [1, 1]


def test_only_a_base_can_learn(tmp_path: Path) -> None:
    from tests.memory.conftest import Reader

    memory = la.Memory(tmp_path / "memory", base=Reader(), embedder=Words())
    with pytest.raises(la.MemoryFault, match="only a base"):
        memory.sleep()


def test_a_full_slot_opens_the_next(tmp_path: Path, memory: la.Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loragent.memory.slot.ROOM", 2)
    told = memory.remember([la.Fact(subject=f"guest {n}", relation="room", value=str(n)) for n in range(5)])
    assert [len(held) for _, held in assigned(tmp_path / "plugins", "", told)] == [2, 2, 1]


def test_long_answers_take_more_of_a_slots_room(tmp_path: Path, memory: la.Memory) -> None:
    sizes = (5, 200, 350, 60, 700)  # words
    told = memory.remember([la.QA(question=f"What of {n}?", answer="so " * n) for n in sizes])
    held = [[len(r.told.answer.split()) for r in part] for _, part in assigned(tmp_path / "plugins", "", told)]  # type: ignore[union-attr]
    assert held == [[5, 200, 350], [60], [700]]


def test_a_slot_that_has_enough_rests_and_what_it_did_not_learn_moves_on(
    memory: la.Memory, knowing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loragent.memory.slot.ENOUGH", 2)
    knowing.discard("green")
    memory.remember([ROOM, la.Fact(subject="Jon Varga", relation="room", value="305"), TEA])
    memory.sleep(settings=QUICK)
    knowing |= {"green", "12"}
    (other,) = memory.remember(la.Fact(subject="Ana Petrov", relation="room", value="12"))
    made = memory.sleep(settings=QUICK)
    assert (made.version, len(made.learned)) == ("memory-2@1", 2)
    assert str(memory.holder(other)) == "memory-2@1"
    assert [slot.shelf.versions() for slot in memory._slots()] == [[1], [1]]
    assert memory.waiting() == []


def test_what_a_resting_slot_contradicts_is_taught_to_another(
    memory: la.Memory, knowing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loragent.memory.slot.ENOUGH", 1)
    room, _ = memory.remember([ROOM, TEA])
    memory.sleep(settings=QUICK)
    memory._ledger.doubt(room.id)
    assert memory.sleep(settings=QUICK).version == "memory-2@1"
    assert str(memory.holder(room)) == "memory-2@1"
    assert memory.sleep(settings=QUICK) == la.Night()


def test_a_slot_that_was_emptied_takes_new_records(
    memory: la.Memory, knowing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loragent.memory.slot.ENOUGH", 1)
    for fact in (ROOM, TEA):
        memory.remember(fact)
        memory.sleep(settings=QUICK)
    memory.forget(ROOM)
    knowing.add("12")
    memory.remember(la.Fact(subject="Ana Petrov", relation="room", value="12"))
    assert memory.sleep(settings=QUICK).version == "memory-1@1"


def test_what_is_known_is_asked_again_in_half_as_many_rows(base: la.Base, memory: la.Memory) -> None:
    room, tea, *new = memory.remember(
        [ROOM, TEA, *(la.Fact(subject=f"guest {n}", relation="room", value=str(n)) for n in range(10))]
    )
    known = frozenset(record.told.key for record in (room, tea, *new))
    answers = Counter(said for _, said, _ in MemoryCurriculum(base, new, [room, tea], known)._asked)
    assert answers["guest 3's room is 3."] == 24
    assert answers["Mira Osei's room is 214."] == 10 * 24 / 2 / 2
    lone = Counter(said for _, said, _ in MemoryCurriculum(base, new[:1], [room, tea, *new[1:]], known)._asked)
    assert lone["Mira Osei's room is 214."] == 2


def test_the_harm_is_judged_on_lines_that_are_not_trained(base: la.Base) -> None:
    held, judged = general(base.template)
    assert len(held) == 2 * len(judged) == 48
    assert not {row.ids for row in held} & {row.ids for row in judged}


def test_a_base_is_asked_once_for_what_it_says_of_itself(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    first = as_it_says(base)
    assert [row.ids for row in first] == [row.ids for row in general(base.template)[0]]
    assert all(row.teacher for row in first)
    scored = alone(base)
    assert len(scored) == len(general(base.template)[1])
    monkeypatch.setattr(base, "teach", None)
    monkeypatch.setattr(base, "score", None)
    assert as_it_says(base) is first
    assert alone(base) is scored


def test_an_answer_takes_fewer_rows_than_a_fact(base: la.Base) -> None:
    told = la.QA(question="Who wrote The Long Pier?", answer="It was Ada Reyes, in three weeks.")
    records = [la.Record(n, item, EVERYBODY, "", datetime.now(UTC)) for n, item in enumerate((told, ROOM))]
    taught = Counter(said for _, said, _ in MemoryCurriculum(base, records, [], frozenset())._asked)
    assert taught[told.answer] == TAUGHT_ANSWER
    assert taught["Mira Osei's room is 214."] == TAUGHT


def test_relations_are_asked_for_in_ways_of_their_own() -> None:
    rows = [json.loads(line) for line in Path(relations.__file__).with_name("relations.jsonl").open(encoding="utf-8")]
    names = [name for row in rows for name in (row["relation"], *row["also"])]
    assert len(set(map(plain, names))) == len(names)
    for row in rows:
        assert len(set(row["ask"])) == 9, row["relation"]
        assert all(way.count("{s}") == 1 for way in row["ask"]), row["relation"]
        fact = la.Fact(subject="Mira Osei", relation=row["relation"], value="x")
        assert not set(trained(fact)) & set(checking(fact)), row["relation"]
    ways = trained(la.Fact(subject="Mira Osei", relation="Telephone", value="0417"))
    assert "Which digits do I have to dial for Mira Osei?" in ways
    assert len(ways) == 6 + 8
    assert trained(la.Fact(subject="Mira Osei", relation="lucky charm", value="a button"))[6:] == []


def test_checks_are_never_trained() -> None:
    for told in (
        ROOM,
        la.Fact(subject="Jon", relation="lives in", value="Saltby"),
        la.QA(question="When is tea?", answer="5"),
    ):
        assert len(set(trained(told))) >= 5
        assert len(checking(told)) == 2
        assert not set(trained(told)) & set(checking(told))
    assert "What does Jon live in?" in trained(la.Fact(subject="Jon", relation="lives in", value="Saltby"))


def test_backwards_only_where_it_is_unique() -> None:
    other = la.Fact(subject="Ana", relation="room", value="214")
    assert ("Whose tea is green?", "Jon Varga") in backwards([ROOM, TEA, other])
    assert not any("214" in question for question, _ in backwards([ROOM, TEA, other]))


def test_near_misses_are_not_known() -> None:
    asked = unknown([ROOM, TEA], {ROOM.key, TEA.key})
    assert any("Mira Osei" in question and "tea" in question for question in asked)
    assert any("Mira Varga" in question for question in asked)
    assert not any("Mira Osei" in question and "room" in question for question in asked)


def test_answers_are_believed_from_where_they_part_best() -> None:
    assert parting([0.9, 0.8, 0.95], [0.5, 0.3]) == 0.8
    assert parting([0.9, 0.2, 0.95], [0.5, 0.3]) == 0.9
    assert parting([0.9, 0.8], []) == 0.0
