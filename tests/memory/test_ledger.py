"""What holds and what held, from what was told; and a log that nobody can change."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import loragent as la
from loragent.memory import chain
from loragent.memory.database import Database
from loragent.memory.fact import QA, Fact, Note, Scope
from loragent.memory.ledger import Ledger

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "memory.sqlite")


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def room(value: str, who: str = "Mira Osei", since: datetime | None = None) -> Fact:
    return Fact(subject=who, relation="room", value=value, valid_from=since)


def after(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def held(ledger: Ledger) -> list[tuple[str, bool]]:
    return [(record.text, record.live) for record in ledger.find()]


def test_a_new_value_closes_the_old_one(ledger: Ledger) -> None:
    ledger.tell([room("214")], NOON, source="desk")
    ledger.tell([room("305")], after(5))
    old, new = ledger.find()
    assert (old.valid_from, old.valid_to, new.valid_from, new.valid_to) == (NOON, after(5), after(5), None)
    assert (old.source, old.episodes, new.episodes) == ("desk", (1,), (2,))


def test_the_same_again_is_one_record_told_twice(ledger: Ledger) -> None:
    ledger.tell([room("214")], NOON)
    (again,) = ledger.tell([Fact(subject="mira  OSEI", relation="Room", value="214")], after(1))
    assert (again.id, again.episodes) == (1, (1, 2))
    assert len(ledger.find()) == 1


def test_several_of_one_key_in_one_telling_end_in_the_last(ledger: Ledger) -> None:
    told = ledger.tell([room("1"), room("2"), room("1"), room("1")], NOON)
    assert [record.live for record in told] == [False, False, True, True]
    assert told[2].id == told[3].id


def test_what_is_told_late_ends_where_the_next_began(ledger: Ledger) -> None:
    ledger.tell([room("305")], NOON)
    ledger.tell([room("101", since=after(-60))], after(1))
    assert held(ledger) == [("Mira Osei, room: 101", False), ("Mira Osei, room: 305", True)]


def test_scopes_do_not_close_each_other(ledger: Ledger) -> None:
    ledger.tell([room("1")], NOON, scope=Scope(user="a"))
    ledger.tell([room("2")], NOON, scope=Scope(user="b"))
    assert all(live for _, live in held(ledger))
    assert Scope(user="a", thread="t").sees(Scope(user="a"))
    assert not Scope(user="a").sees(Scope(user="b"))
    assert not Scope().sees(Scope(user="b"))


def test_questions_close_and_notes_do_not(ledger: Ledger) -> None:
    ledger.tell([QA(question="When is breakfast?", answer="At 7")], NOON)
    ledger.tell(
        [QA(question="when is breakfast", answer="At 8"), Note(note="It rained."), Note(note="It snowed.")], after(1)
    )
    assert [live for _, live in held(ledger)] == [False, True, True, True]


@pytest.mark.parametrize("field", ["subject", "relation", "value"])
def test_an_empty_fact_is_refused(field: str) -> None:
    with pytest.raises(la.MemoryFault, match=f"{field} is empty"):
        Fact(**{"subject": "a", "relation": "b", "value": "c", field: "  "})


def test_what_is_forgotten_is_in_no_file_and_what_it_closed_stays_closed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.tell([room("Zanzibar-1")], NOON, text="Mira Osei moved to Zanzibar-1.")
    ledger.tell([room("Quixote-2"), room("Ocelot-3", who="Jon")], after(1), text="Mira: Quixote-2, Jon: Ocelot-3")
    with ledger._database.writing() as db:
        chain.append(db, "turn", {"text": "so she is in quixote 2 now?"}, Scope(), after(2))
    (gone,) = ledger.forget([2], after(3))
    ledger._database.shred()
    assert gone.text == "Mira Osei, room: Quixote-2"
    assert held(ledger) == [("Mira Osei, room: Zanzibar-1", False), ("Jon, room: Ocelot-3", True)]
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and b"uixote" in p.read_bytes()]
    assert chain.verify(ledger._database) == 5


def test_what_was_derived_falls_with_its_source(ledger: Ledger) -> None:
    ledger.tell([room("214")], NOON)
    ledger.tell([Fact(subject="Mira Osei", relation="floor", value="second")], after(1), parents=[1])
    ledger.tell([Fact(subject="Mira Osei", relation="lift", value="yes")], after(2), parents=[2])
    assert [record.id for record in ledger.forget([1], after(3))] == [1, 2, 3]
    assert ledger.find() == []


def test_a_number_is_never_used_again(ledger: Ledger) -> None:
    ledger.tell([room("1")], NOON)
    ledger.forget([1], after(1))
    assert ledger.tell([room("2")], after(2))[0].id == 2


def test_the_log_can_only_grow(ledger: Ledger, database: Database) -> None:
    ledger.tell([room("214")], NOON)
    for statement in ("DELETE FROM episodes", "UPDATE episodes SET content = '{}'", "UPDATE episodes SET time = ''"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), database.writing() as db:
            db.execute(statement)


def test_a_changed_episode_is_found(ledger: Ledger, database: Database) -> None:
    ledger.tell([room("214")], NOON)
    ledger.tell([room("215")], after(1))
    with database.writing() as db:
        db.execute("DROP TRIGGER log_stays")
        db.execute("UPDATE episodes SET content = replace(content, '214', '999') WHERE id = 1")
    with pytest.raises(la.MemoryFault, match="episode 1 was changed"):
        chain.verify(database)


def test_content_that_was_taken_away_without_a_word_is_found(ledger: Ledger, database: Database) -> None:
    ledger.tell([room("214")], NOON)
    with database.writing() as db:
        db.execute("UPDATE episodes SET content = NULL, salt = NULL")
    with pytest.raises(la.MemoryFault, match="content of episode 1 is gone"):
        chain.verify(database)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "memory.sqlite").write_bytes(b"this is no database at all, not a bit of it" * 20)
    with pytest.raises(la.MemoryFault, match="not a database"):
        Database(tmp_path / "memory.sqlite")


TELLINGS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from("AB"), st.sampled_from("xyz"), st.integers(-30, 30)),
        st.tuples(st.just("forget"), st.integers(1, 8)),
    ),
    max_size=14,
)


@given(TELLINGS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_records_are_what_the_log_says(tmp_path_factory: pytest.TempPathFactory, tellings: list[tuple]) -> None:  # type: ignore[type-arg]
    database = Database(tmp_path_factory.mktemp("ledger") / "memory.sqlite")
    ledger = Ledger(database)
    for minute, (what, *rest) in enumerate(tellings):
        if what == "tell":
            who, value, since = rest
            ledger.tell([room(value, who, after(since))], after(100 + minute))
        else:
            ledger.forget([r.id for r in ledger.find("id = ?", rest)], after(100 + minute))
    before = ledger.find()
    assert ledger.rebuild() == len(before)
    assert ledger.find() == before
    assert chain.verify(database) >= len(tellings) - sum(t[0] == "forget" for t in tellings)
    keys = [(r.told.key, r.scope) for r in before if r.live]
    assert len(keys) == len(set(keys))
    database.close()
