"""The statements on the tables that records lie in; each is part of a transaction that the ledger has begun."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from .fact import Fact, Record, Scope, Told, as_json, from_json, plain

COLUMNS = (
    "id, kind, told, user, agent, thread, source, valid_from, valid_to, "
    "(SELECT group_concat(episode) FROM told_in WHERE record = records.id), "
    "(SELECT group_concat(parent) FROM derived_from WHERE record = records.id)"
)


def held(db: sqlite3.Connection, told: Told, scope: Scope, since: datetime) -> int | None:
    """The record that says the same and holds at that time."""
    rows = db.execute(
        "SELECT id, told FROM records WHERE key = ? AND user = ? AND agent = ? AND thread = ? "
        "AND valid_from <= ? AND (valid_to IS NULL OR valid_to > ?) ORDER BY valid_from DESC, id DESC",
        (told.key, scope.user, scope.agent, scope.thread, since.isoformat(), since.isoformat()),
    )
    same = plain(as_json(told))
    return next((number for number, text in rows if plain(text) == same), None)


def insert(
    db: sqlite3.Connection, told: Told, scope: Scope, source: str, since: datetime, number: int | None = None
) -> int:
    """Write a record that holds from a time on; its id, which may be given."""
    record = Record(0, told, scope, source, since)
    subject = plain(told.subject) if isinstance(told, Fact) else ""
    values = (
        number, record.kind, told.key, subject, as_json(told), scope.user, scope.agent, scope.thread, source,
        since.isoformat(), None, _change(db),
    )  # fmt: skip
    cursor = db.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    return int(cursor.lastrowid or 0)


def close(db: sqlite3.Connection, key: str, scope: Scope) -> None:
    """Let each record of a key end where the next one begins, or where it had ended before that."""
    if key.startswith("note|"):
        return
    rows = db.execute(
        "SELECT id, valid_from, valid_to FROM records WHERE key = ? AND user = ? AND agent = ? AND thread = ? "
        "ORDER BY valid_from, id",
        (key, scope.user, scope.agent, scope.thread),
    ).fetchall()
    for (number, _, before), (_, following, _) in pairwise(rows):
        end = min(before, following) if before else following
        if before != end:
            db.execute("UPDATE records SET valid_to = ?, changed = ? WHERE id = ?", (end, _change(db), number))


def ends(db: sqlite3.Connection, keys: Iterable[tuple[str, Scope]]) -> dict[str, str]:
    """Where the records of some keys ended, by their ids."""
    where = "key = ? AND user = ? AND agent = ? AND thread = ? AND valid_to IS NOT NULL"
    found: dict[str, str] = {}
    for key, scope in keys:
        values = (key, scope.user, scope.agent, scope.thread)
        rows = db.execute(f"SELECT id, valid_to FROM records WHERE {where}", values)
        found |= {str(number): end for number, end in rows}
    return found


def trace(db: sqlite3.Connection, number: int, episode: int, parents: Sequence[int]) -> None:
    """Note in which episode a record was told, and which ones it was derived from."""
    db.execute("INSERT OR IGNORE INTO told_in VALUES (?, ?)", (number, episode))
    db.executemany("INSERT OR IGNORE INTO derived_from VALUES (?, ?)", [(number, parent) for parent in parents])


def remove(db: sqlite3.Connection, number: int) -> None:
    """Delete a record, for it was forgotten."""
    for table in ("told_in", "derived_from", "doubts"):
        db.execute(f"DELETE FROM {table} WHERE record = ?", (number,))
    db.execute("DELETE FROM records WHERE id = ?", (number,))
    _change(db, forgot=True)


def with_derived(db: sqlite3.Connection, ids: Iterable[int]) -> list[int]:
    """Records and whatever was derived from them, by their ids."""
    found = list(dict.fromkeys(ids))
    for number in found:  # grows while it is read
        children = db.execute("SELECT record FROM derived_from WHERE parent = ?", (number,))
        found += [child for (child,) in children if child not in found]
    return found


def records(db: sqlite3.Connection, ids: Iterable[int]) -> list[Record]:
    """Records by their ids, in their order; those that are gone are left out."""
    query = f"SELECT {COLUMNS} FROM records WHERE id = ?"
    return [record_of(row) for number in ids for row in db.execute(query, (number,)).fetchall()]


def record_of(row: tuple[Any, ...]) -> Record:
    """What :data:`COLUMNS` give."""
    number, kind, told, user, agent, thread, source, since, until, episodes, parents = row
    return Record(
        number,
        from_json(kind, told),
        Scope(user, agent, thread),
        source,
        datetime.fromisoformat(since),
        datetime.fromisoformat(until) if until else None,
        _numbers(episodes),
        _numbers(parents),
    )


def _change(db: sqlite3.Connection, *, forgot: bool = False) -> int:
    return int(db.execute("INSERT INTO changes (forgot) VALUES (?)", (forgot,)).lastrowid or 0)


def _numbers(joined: str | None) -> tuple[int, ...]:
    return tuple(sorted(map(int, joined.split(",")))) if joined else ()
