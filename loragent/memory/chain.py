"""The episode log: what was said, done and told, one after another; the only truth of a memory.

An episode is never changed. Its content can be erased, and even then the chain of hashes holds, for a hash covers only
a salted digest of the content:

    digest = sha256(salt, content),    hash = sha256(previous hash, id, time, kind, scope, digest)

With the content the salt goes, so that nobody can guess a short value and find it confirmed.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..core import MemoryFault
from .database import Database
from .fact import Scope

FIRST = "0" * 64
TOLD, KEPT, ERASED, SLEPT, REVERTED = "told", "kept", "erased", "slept", "reverted"
OWN_KINDS = (TOLD, KEPT, ERASED, SLEPT, REVERTED)  # of the episodes that the memory writes itself


@dataclass(frozen=True, slots=True)
class Episode:
    """One entry; ``content`` is None once it was erased."""

    id: int
    time: str
    kind: str
    scope: Scope
    content: Mapping[str, Any] | None


def append(db: sqlite3.Connection, kind: str, content: Mapping[str, Any], scope: Scope, time: datetime) -> int:
    """Write an episode within a transaction; its id."""
    last = db.execute("SELECT id, hash FROM episodes ORDER BY id DESC LIMIT 1").fetchone()
    number, before = (last[0] + 1, last[1]) if last else (1, FIRST)
    text, salt, when = json.dumps(content, ensure_ascii=False), secrets.token_bytes(16), time.isoformat()
    digest = _digest(salt, text)
    chained = _hash(before, number, when, kind, scope, digest)
    values = (number, when, kind, scope.user, scope.agent, scope.thread, salt, text, digest, chained)
    db.execute("INSERT INTO episodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    return number


def erase(db: sqlite3.Connection, ids: Sequence[int], ended: Mapping[str, str], time: datetime) -> None:
    """Erase the contents of episodes within a transaction, and say so in the log.

    Args:
        ended: of records that go on, what had ended through others that are gone now.
    """
    for number in ids:
        db.execute("UPDATE episodes SET content = NULL, salt = NULL WHERE id = ?", (number,))
    append(db, ERASED, {"episodes": sorted(ids), "ended": dict(ended)}, Scope(), time)


def read(database: Database, after: int = 0) -> list[Episode]:
    """All episodes behind one, in their order."""
    found = database.rows(
        "SELECT id, time, kind, user, agent, thread, content FROM episodes WHERE id > ? ORDER BY id", (after,)
    )
    return [_episode(row) for row in found]


def with_content(db: sqlite3.Connection) -> list[Episode]:
    """All episodes that were not erased, within a transaction."""
    found = db.execute("SELECT id, time, kind, user, agent, thread, content FROM episodes WHERE content IS NOT NULL")
    return [_episode(row) for row in found]


def verify(database: Database) -> int:
    """Check every hash; how many episodes there are.

    Raises:
        MemoryFault: an episode was changed, or its content taken away without a word.
    """
    before, erased = FIRST, set()
    found = database.rows("SELECT * FROM episodes ORDER BY id")
    for number, time, kind, user, agent, thread, salt, content, digest, chained in found:
        expected = _hash(before, number, time, kind, Scope(user, agent, thread), digest)
        if chained != expected or (content is not None and digest != _digest(salt, content)):
            raise MemoryFault(f"{database.path}: episode {number} was changed", "put a copy of the file back")
        if kind == ERASED and content is not None:
            erased |= set(json.loads(content)["episodes"])
        before = chained
    missing = [row[0] for row in found if row[7] is None and row[0] not in erased]
    if missing:
        raise MemoryFault(
            f"{database.path}: the content of episode {missing[0]} is gone", "put a copy of the file back"
        )
    return len(found)


def _episode(row: tuple[Any, ...]) -> Episode:
    number, time, kind, user, agent, thread, content = row
    return Episode(number, time, kind, Scope(user, agent, thread), None if content is None else json.loads(content))


def _digest(salt: bytes, content: str) -> str:
    return hashlib.sha256(salt + content.encode()).hexdigest()


def _hash(before: str, number: int, time: str, kind: str, scope: Scope, digest: str) -> str:
    parts = (before, number, time, kind, scope.user, scope.agent, scope.thread, digest)
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
