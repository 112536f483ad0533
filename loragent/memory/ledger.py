"""What holds now and what held before: records, made from what the log was told. No model is asked.

For one key (a subject and a relation, or a question) in one scope one record is live: the one that holds since last.
Each of the others ends where the next one begins, in whatever order they were told.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from . import chain, tables
from .database import Database
from .fact import EVERYBODY, FIRST_PERSON, Fact, Record, Scope, Told, as_json, from_json, plain, says

ABOUT = "(subject = ? OR (subject = ? AND user = ?))"  # a condition on records; its values are those of :func:`about`


class Ledger:
    """The records of a memory, in the same file as its log, and written in the same transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- writing -----------------------------------------------------------------------------------

    def tell(
        self,
        what: Sequence[Told],
        time: datetime,
        *,
        source: str = "",
        scope: Scope = EVERYBODY,
        text: str = "",
        parents: Sequence[int] = (),
    ) -> list[Record]:
        """Write what is told into log and records; the records, those that were there already included.

        Args:
            text: in which words it was told.
            parents: ids of the records that it was derived from.
        """
        with self._database.writing() as db:
            ids, new = [], set()
            for told in what:
                number = tables.held(db, told, scope, told.valid_from or time)
                if number is None:
                    number = tables.insert(db, told, scope, source, told.valid_from or time)
                    new.add(number)
                    tables.close(db, told.key, scope)
                ids.append(number)
            rows = [_as_told(record, parents if record.id in new else ()) for record in tables.records(db, ids)]
            episode = chain.append(db, chain.TOLD, {"text": text, "source": source, "records": rows}, scope, time)
            for number in ids:
                tables.trace(db, number, episode, parents if number in new else ())
        return self.get(ids)

    def forget(
        self,
        ids: Iterable[int],
        time: datetime,
        also: Sequence[str] = (),
        alone: Sequence[int] = (),
        whose: Scope | None = None,
    ) -> list[Record]:
        """Remove records and whatever was derived from them, and erase their words from the log; what was removed.

        What else the erased episodes told is kept, in an episode of its own. What a removed record had closed stays
        closed.

        Args:
            also: further words that nothing in the log may hold any more.
            alone: records that are removed without what was derived from them.
            whose: erase all episodes of this scope, too, whatever they say.
        """
        with self._database.writing() as db:
            doomed = list(dict.fromkeys((*tables.with_derived(db, ids), *alone)))
            gone = tables.records(db, doomed)
            words = [*also, *(word for record in gone for word in secrets_of(record.told))]
            touched = {episode for record in gone for episode in record.episodes}
            episodes = [
                episode
                for episode in chain.with_content(db)
                if episode.id in touched or (whose and episode.scope.sees(whose)) or _mentions(episode, words)
            ]
            for number in doomed:
                tables.remove(db, number)
            _keep_the_rest(db, episodes, doomed, time)
            ended = tables.ends(db, {(record.told.key, record.scope) for record in gone})
            if episodes:
                chain.erase(db, [episode.id for episode in episodes], ended, time)
        return gone

    def rebuild(self) -> int:
        """Make all records anew from the log; how many there are."""
        with self._database.writing() as db:
            for table in ("told_in", "derived_from", "doubts", "records"):
                db.execute(f"DELETE FROM {table}")
            episodes = chain.with_content(db)
            for episode in episodes:
                _replay(db, episode)
            for episode in episodes:
                _end_again(db, episode)
            for key, *scope in db.execute("SELECT DISTINCT key, user, agent, thread FROM records").fetchall():
                tables.close(db, key, Scope(*scope))
            (count,) = db.execute("SELECT count(*) FROM records").fetchone()
        return int(count)

    def doubt(self, number: int) -> None:
        """Note that a plugin answered something else than a record says."""
        with self._database.writing() as db:
            db.execute("INSERT OR IGNORE INTO doubts SELECT id FROM records WHERE id = ?", (number,))

    def trust(self, ids: Iterable[int]) -> None:
        """Undo :meth:`doubt`."""
        with self._database.writing() as db:
            db.executemany("DELETE FROM doubts WHERE record = ?", [(number,) for number in ids])

    def doubted(self) -> frozenset[int]:
        """Ids of records that a plugin contradicted since it last proved to know them."""
        return frozenset(number for (number,) in self._database.rows("SELECT record FROM doubts"))

    # -- reading -----------------------------------------------------------------------------------

    def get(self, ids: Iterable[int]) -> list[Record]:
        """Records by their ids, in their order; those that are gone are left out."""
        return [record for number in ids for record in self._read("id = ?", (number,))]

    def find(self, where: str = "1", values: Sequence[Any] = ()) -> list[Record]:
        """Records that a condition on their columns holds for, oldest first."""
        return self._read(f"{where} ORDER BY valid_from, id", values)

    def changed_after(self, change: int) -> tuple[list[Record], int]:
        """Records that changed after a change, and the number of the last one."""
        last = self.last_change()
        return self.find("changed > ? AND changed <= ?", (change, last)), last

    def last_change(self) -> int:
        """The number of the last change; it grows with every one."""
        return int(self._database.rows("SELECT coalesce(max(number), 0) FROM changes")[0][0])

    def forgotten_after(self, change: int) -> bool:
        """Whether a record was forgotten after a change; what was made of the records before must be made anew."""
        return bool(self._database.rows("SELECT 1 FROM changes WHERE number > ? AND forgot LIMIT 1", (change,)))

    def with_derived(self, ids: Iterable[int]) -> list[int]:
        """Records and whatever was derived from them, by their ids."""
        with self._database.writing() as db:
            return tables.with_derived(db, ids)

    def _read(self, where: str, values: Sequence[Any]) -> list[Record]:
        rows = self._database.rows(f"SELECT {tables.COLUMNS} FROM records WHERE {where}", values)
        return [tables.record_of(row) for row in rows]


def about(name: str) -> tuple[str, str, str]:
    """Records of a subject, and what a user of that name told of himself."""
    return plain(name), plain(FIRST_PERSON), name


def secrets_of(told: Told) -> tuple[str, ...]:
    """The words that must not be found anywhere once it is forgotten."""
    if isinstance(told, Fact):
        return (told.value,)
    return tuple(told.model_dump(include={"answer", "note"}).values())


def _mentions(episode: chain.Episode, texts: Sequence[str]) -> bool:
    content = " ".join(_strings(episode.content))
    return any(says(content, text) for text in texts)


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from _strings(value)


def _keep_the_rest(
    db: sqlite3.Connection, episodes: Sequence[chain.Episode], doomed: Sequence[int], time: datetime
) -> None:
    """What episodes that will be erased told besides, told again without their words."""
    for episode in episodes:
        db.execute("DELETE FROM told_in WHERE episode = ?", (episode.id,))
        content = episode.content or {}
        rest = [record for record in content.get("records", ()) if record["id"] not in doomed]
        if not rest:
            continue
        kept = chain.append(db, chain.KEPT, {"source": content.get("source", ""), "records": rest}, episode.scope, time)
        for record in rest:
            tables.trace(db, record["id"], kept, ())


def _as_told(record: Record, parents: Sequence[int]) -> dict[str, Any]:
    """A record as the log keeps it."""
    told = {"id": record.id, "kind": record.kind, "told": json.loads(as_json(record.told))}
    return {**told, "since": record.valid_from.isoformat(), **({"parents": list(parents)} if parents else {})}


def _replay(db: sqlite3.Connection, episode: chain.Episode) -> None:
    content = episode.content or {}
    for row in content.get("records", ()):
        known = db.execute("SELECT 1 FROM records WHERE id = ?", (row["id"],)).fetchone()
        if not known:
            told, since = from_json(row["kind"], json.dumps(row["told"])), datetime.fromisoformat(row["since"])
            tables.insert(db, told, episode.scope, content["source"], since, row["id"])
        tables.trace(db, row["id"], episode.id, () if known else row.get("parents", ()))


def _end_again(db: sqlite3.Connection, episode: chain.Episode) -> None:
    for number, end in (episode.content or {}).get("ended", {}).items():
        db.execute("UPDATE records SET valid_to = min(coalesce(valid_to, ?1), ?1) WHERE id = ?2", (end, int(number)))
