"""One SQLite file: the log, and what it says about the present.

It is safe for several threads and processes: what is written is one transaction or nothing, and waits for others.
What is deleted is overwritten (``secure_delete``); the rollback journal, unlike a write-ahead log, ends with the
transaction, so nothing that is gone stays in a file beside it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core import MemoryFault

VERSION = 1
BUSY_SECONDS = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS episodes (
  id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, kind TEXT NOT NULL,
  user TEXT NOT NULL, agent TEXT NOT NULL, thread TEXT NOT NULL,
  salt BLOB, content TEXT, digest TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS log_keeps BEFORE DELETE ON episodes
  BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_stays BEFORE UPDATE ON episodes
  WHEN NEW.content IS NOT NULL OR NEW.salt IS NOT NULL OR NEW.id != OLD.id OR NEW.time != OLD.time
    OR NEW.kind != OLD.kind OR NEW.user != OLD.user OR NEW.agent != OLD.agent OR NEW.thread != OLD.thread
    OR NEW.digest != OLD.digest OR NEW.hash != OLD.hash
  BEGIN SELECT RAISE(ABORT, 'the log is append-only: content can be erased, nothing can be changed'); END;
CREATE TABLE IF NOT EXISTS records (
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL, subject TEXT NOT NULL,
  told TEXT NOT NULL, user TEXT NOT NULL, agent TEXT NOT NULL, thread TEXT NOT NULL, source TEXT NOT NULL,
  valid_from TEXT NOT NULL, valid_to TEXT, changed INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_key ON records (key, user, agent, thread);
CREATE INDEX IF NOT EXISTS records_by_subject ON records (subject);
CREATE INDEX IF NOT EXISTS records_by_change ON records (changed);
CREATE TABLE IF NOT EXISTS told_in (record INTEGER NOT NULL REFERENCES records, episode INTEGER NOT NULL,
  PRIMARY KEY (record, episode)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS derived_from (record INTEGER NOT NULL REFERENCES records, parent INTEGER NOT NULL,
  PRIMARY KEY (record, parent)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS doubts (record INTEGER PRIMARY KEY REFERENCES records ON DELETE CASCADE);
CREATE TABLE IF NOT EXISTS changes (number INTEGER PRIMARY KEY AUTOINCREMENT, forgot INTEGER NOT NULL);
"""


class Database:
    """The file of a memory.

    Args:
        path: made if it isn't there.

    Raises:
        MemoryFault: it can't be opened, is no such file, or of a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._prepare()

    def _prepare(self) -> None:
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found > VERSION:
            raise MemoryFault(f"{self.path} was written by a later loragent", "update loragent")
        if found < VERSION:
            with self.writing() as db:
                for statement in _statements(SCHEMA):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody writes beside; an error undoes all of it. Within another it is a part of that."""
        with self._lock, self._explained():
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:  # on a full disk SQLite has undone it already
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self._lock, self._explained():
            return self._db.execute(query, values).fetchall()

    def shred(self) -> None:
        """Write the file anew, so that no page keeps what was moved out of it."""
        with self._lock, self._explained():
            self._db.execute("VACUUM")

    def copy_to(self, path: Path) -> None:
        """A whole copy, as of one moment."""
        with self._lock, self._explained():
            target = sqlite3.connect(path)
            try:
                self._db.backup(target)
            finally:
                target.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OSError) as error:
            ways = {
                "full": "free some space; nothing that was told before is lost",
                "locked": "another process writes into it for long; try again",
                "not a database": "name another folder, or put the file's copy back",
                "malformed": "put a copy of it back (`loragent memory export` makes them)",
            }
            way = next((way for part, way in ways.items() if part in str(error)), "see that it may be read and written")
            raise MemoryFault(f"{self.path}: {error}", way) from error


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, triggers whole."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" ;\n"):
                yield statement
            statement = ""
