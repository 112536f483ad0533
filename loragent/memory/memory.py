"""A memory as users see it: one folder, told things, asked things, made to forget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import Embedder, Generator, MemoryFault
from ..model import MiniLM
from . import chain
from .database import Database
from .fact import MOST_CHARACTERS, QA, Fact, Note, Record, Scope, Told, plain
from .ledger import Ledger, secrets_of
from .recall import Recall, from_store
from .store import Hit, Store

FILE, STORE, ABOUT = "memory.sqlite", "store", "about.json"
FINDABLE = 5  # characters from which a text in a file is no chance
NEAR = 0.75  # cosine from which a record is what a query means, when it is to be forgotten


class Memory:
    """What an agent lived through.

    Safe for several threads, and for several processes on one folder.

    Args:
        folder: made if it isn't there.
        base: answers from what is found; anything that generates.
        embedder: of texts that are searched; by default MiniLM, which is fetched at the first use.

    Raises:
        MemoryFault: the folder holds something else, or can't be read or written.
    """

    def __init__(self, folder: str | Path, *, base: Base | Generator, embedder: Embedder | None = None) -> None:
        self.folder = Path(folder).expanduser()
        if self.folder.exists() and not self.folder.is_dir():
            raise MemoryFault(f"{self.folder} is a file", "name a folder")
        self._base = base
        self._database = Database(self.folder / FILE)
        self._ledger = Ledger(self._database)
        self._store = Store(self.folder / STORE, self._ledger, embedder or MiniLM())

    def __repr__(self) -> str:
        return f"Memory({self.folder})"

    # -- telling -----------------------------------------------------------------------------------

    def remember(
        self,
        what: str | Told | Sequence[str | Told],
        *,
        source: str = "",
        user: str = "",
        agent: str = "",
        thread: str = "",
        derived_from: Sequence[Record | int] = (),
    ) -> list[Record]:
        """Keep a fact, a question with its answer, or free text; it can be asked for at once.

        Args:
            what: one or several; a new value for a subject and relation closes the old one.
            source: who says so.
            user, agent, thread: whose memory it is; by default everybody's.
            derived_from: records that it follows from; if one of them is forgotten, so is this.

        Raises:
            MemoryFault: a text is empty or too long, or the disk can't take it; nothing was kept then.
        """
        given = [what] if isinstance(what, str | Fact | QA | Note) else list(what)
        told = [_note(item) if isinstance(item, str) else item for item in given]
        text = "\n".join(item for item in given if isinstance(item, str))
        parents = [item.id if isinstance(item, Record) else item for item in derived_from]
        scope = Scope(user, agent, thread)
        return self._ledger.tell(told, _now(), source=source, scope=scope, text=text, parents=parents)

    def log(self, kind: str, content: Mapping[str, Any], *, user: str = "", agent: str = "", thread: str = "") -> int:
        """Write an episode that tells no fact (a turn, a tool's result); its number in the log."""
        if kind in (chain.ERASED, "told", "kept"):
            raise MemoryFault(f"{kind!r} is a kind of episode that the memory writes itself", "name another kind")
        with self._database.writing() as db:
            return chain.append(db, kind, content, Scope(user, agent, thread), _now())

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, question: str, *, user: str = "", agent: str = "", thread: str = "") -> Recall:
        """Answer a question from what is remembered, or say that it isn't."""
        return from_store(question, self.search(question, user=user, agent=agent, thread=thread), self._base)

    def search(self, text: str, k: int = 5, *, user: str = "", agent: str = "", thread: str = "") -> list[Hit]:
        """What holds now and is nearest to a text, best first."""
        return self._store.search(text, k, Scope(user, agent, thread))

    def facts(self, *, at: datetime | None = None) -> list[Record]:
        """What holds now, or held at a time; oldest first."""
        if at is None:
            return self._ledger.find("valid_to IS NULL")
        moment = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
        return self._ledger.find("valid_from <= ? AND (valid_to IS NULL OR valid_to > ?)", (moment, moment))

    def history(self, subject: str) -> list[Record]:
        """All that was ever told of a subject and not forgotten, oldest first."""
        return self._ledger.find("subject = ?", (plain(subject),))

    def episodes(self, after: int = 0) -> list[chain.Episode]:
        """The log, behind an episode."""
        return chain.read(self._database, after)

    def verify(self) -> int:
        """Check that nothing in the log was changed; how many episodes it has.

        Raises:
            MemoryFault: naming the episode.
        """
        return chain.verify(self._database)

    # -- forgetting and moving ---------------------------------------------------------------------

    def forget(self, what: str | Told | Record | None = None, *, query: str | None = None) -> list[Record]:
        """Forget a subject, a fact, or what a query means: from log, records and store, and whatever was derived.

        Args:
            what: the name of a subject; or a fact, as it was told or as it was found.
            query: instead: forgets what is so near to this text that it must be meant.

        Returns:
            what was forgotten; no file of the memory holds its words any more.

        Raises:
            MemoryFault: what is meant is not said, or a file can't be cleaned.
        """
        if (what is None) == (query is None):
            raise MemoryFault("forget what?", "name a subject, a fact, or a query")
        also = (what,) if isinstance(what, str) else ()
        gone = self._ledger.forget([record.id for record in self._meant(what, query)], _now(), also)
        if gone:
            self._database.shred()
            self._store.rebuild()
            self._prove_gone([*also, *(word for record in gone for word in secrets_of(record.told))])
        return gone

    def rebuild(self) -> int:
        """Make records and store anew from the log; how many records hold now."""
        self._ledger.rebuild()
        return self._store.rebuild()

    def export(self, folder: str | Path) -> Path:
        """Copy the memory into a new folder, for another machine; the store is made anew there.

        Raises:
            MemoryFault: the folder isn't empty, or can't be written.
        """
        target = Path(folder).expanduser()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise MemoryFault(f"{target} is there already", "name a new folder")
        try:
            target.mkdir(parents=True, exist_ok=True)
            self._database.copy_to(target / FILE)
            about = {"records": len(self._ledger.find()), "episodes": self.verify()}
            (target / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
        except OSError as error:
            raise MemoryFault(f"{target}: {error}", "name a folder that can be written") from error
        return target

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()
        self._database.close()

    def _prove_gone(self, words: Sequence[str]) -> None:
        """See that no file holds any of some words, but for those that other records hold too.

        Raises:
            MemoryFault: naming the file.
        """
        others = plain("\n".join(record.text for record in self._ledger.find()))
        sought = [word.encode() for word in words if len(word) >= FINDABLE and plain(word) not in others]
        for path in self.folder.rglob("*"):
            if path.is_file() and any(word in path.read_bytes() for word in sought):
                raise MemoryFault(f"{path} still holds what was forgotten", "forget it again, or remove the file")

    def _meant(self, what: str | Told | Record | None, query: str | None) -> list[Record]:
        if query is not None:
            return [hit.record for hit in self._store.search(query, k=50) if hit.score >= NEAR]
        if isinstance(what, Record):
            return self._ledger.get([what.id])
        if isinstance(what, str):
            return self.history(what)
        assert what is not None
        same = plain(what.text)
        return [record for record in self._ledger.find("key = ?", (what.key,)) if plain(record.text) == same]


def _note(text: str) -> Note:
    if not text.strip() or len(text) > MOST_CHARACTERS:
        size = "is empty" if not text.strip() else f"has {len(text)} characters, at most {MOST_CHARACTERS} are kept"
        raise MemoryFault(f"a text to remember {size}", "nothing was kept; tell something, in parts if it is long")
    return Note(note=text)


def _now() -> datetime:
    return datetime.now(UTC)
