"""The live records in Chroma, found by what they are about.

  store/
    state.json     {"folder": "5e1b20c7", "embedder": "...", "change": 41}; replaced atomically
    5e1b20c7/      Chroma's own files

The store holds nothing that the ledger doesn't: whoever searches first brings it up to date, by the number of the last
change that it has seen. It is made anew, in a folder of its own, where it can't be read, where the embedder is another,
and where something was forgotten, for Chroma keeps what it deletes.

Chroma's client is not safe for several processes: one process at a time holds the lock, and one that finds that another
has written opens the client again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..core import Embedder, MemoryFault
from ..model import blank
from .fact import QA, Record, Scope
from .ledger import Ledger

STATE = "state.json"
COLLECTION = "records"
BATCH = 500  # records that are embedded and written at once


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that was found, and the cosine of its text and what was asked."""

    record: Record
    score: float


@dataclass(frozen=True, slots=True)
class _State:
    folder: str
    embedder: str
    change: int


class Store:
    """The search over a ledger.

    Args:
        folder: what is in it can be made anew from the ledger at any time.
    """

    def __init__(self, folder: Path, ledger: Ledger, embedder: Embedder) -> None:
        self._folder, self._ledger, self._embedder = folder, ledger, embedder
        self._lock = threading.RLock()
        self._client: Any = None
        self._seen: _State | None = None

    def search(self, text: str, k: int = 5, scope: Scope | None = None) -> list[Hit]:
        """The live records nearest to a text, best first.

        Args:
            scope: leaves out what is kept in a scope that this one doesn't see; None leaves out nothing.

        Raises:
            MemoryFault: the store can't be read, and can't be made anew either.
        """
        if not text.strip() or k < 1:
            return []
        vector = self._embedder.embed([text])[0]
        with self._locked():
            self._catch_up()
            found = self._collection().query(
                query_embeddings=[vector.tolist()], n_results=k, where=_where(scope), include=["distances"]
            )
        ids = [int(number) for number in found["ids"][0]]
        scores = dict(zip(ids, found["distances"][0], strict=True))
        return [Hit(record, 1 - scores[record.id]) for record in self._ledger.get(ids) if record.live]

    def rebuild(self) -> int:
        """Make the store anew from the ledger; how many records are in it."""
        with self._locked():
            self._renew()
            return int(self._collection().count())

    def close(self) -> None:
        """Let go of Chroma's files."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = self._seen = None

    # -- below -------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Write what has changed since; make everything anew if that can't be."""
        state = self._state()
        if state is None or not self._usable(state):
            return self._renew()
        try:
            if state != self._seen:
                self._open(state)
            records, change = self._ledger.changed_after(state.change)
            if change != state.change:
                self._write(records)
                self._point(_State(state.folder, state.embedder, change))
        except Exception as error:
            if isinstance(error, MemoryFault):
                raise
            self._renew()
        return None

    def _usable(self, state: _State) -> bool:
        same = state.embedder == self._embedder.fingerprint and (self._folder / state.folder).is_dir()
        return same and not self._ledger.forgotten_after(state.change)

    def _renew(self) -> None:
        self.close()
        state = _State(secrets.token_hex(4), self._embedder.fingerprint, 0)  # Chroma keeps what it knows of a path
        try:
            self._open(state)
            records, change = self._ledger.changed_after(0)
            self._write([record for record in records if record.live])
            self._point(_State(state.folder, state.embedder, change))
        except (OSError, RuntimeError, ValueError) as error:
            raise MemoryFault(f"{self._folder}: {error}", "see that it may be written; nothing told is lost") from error
        for other in self._folder.iterdir():
            if other.is_dir() and other.name != state.folder:
                shutil.rmtree(other, ignore_errors=True)

    def _write(self, records: Sequence[Record]) -> None:
        collection = self._collection()
        gone = [str(record.id) for record in records if not record.live]
        if gone:
            collection.delete(ids=gone)
        live = [record for record in records if record.live]
        for at in range(0, len(live), BATCH):
            part = live[at : at + BATCH]
            collection.upsert(
                ids=[str(record.id) for record in part],
                embeddings=self._embedder.embed([_asked(record) for record in part]).tolist(),
                documents=[record.text for record in part],
                metadatas=[_scope_of(record) for record in part],
            )

    def _open(self, state: _State) -> None:
        import chromadb  # seconds, for those who use it
        from chromadb.config import Settings

        self.close()
        quiet = Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(str(self._folder / state.folder), settings=quiet)
        self._client.get_or_create_collection(
            COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
        self._seen = state

    def _collection(self) -> Any:
        return self._client.get_collection(COLLECTION, embedding_function=None)

    def _state(self) -> _State | None:
        try:
            return _State(**json.loads((self._folder / STATE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _point(self, state: _State) -> None:
        temporary = self._folder / f".{STATE}.{os.getpid()}"
        temporary.write_text(json.dumps({"folder": state.folder, "embedder": state.embedder, "change": state.change}))
        temporary.replace(self._folder / STATE)
        self._seen = state

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(self._folder / ".lock")
                lock.acquire()
            except OSError as error:
                raise MemoryFault(f"{self._folder}: {error}", "see that it may be written") from error
            try:
                with blank():  # hnswlib writes memory that it never filled, whatever stood there before
                    yield
            finally:
                lock.release()


def _asked(record: Record) -> str:
    """What is embedded: of a question with its answer the question, for that is what is asked again."""
    return record.told.question if isinstance(record.told, QA) else record.text


def _scope_of(record: Record) -> dict[str, str]:
    return {"user": record.scope.user, "agent": record.scope.agent, "thread": record.scope.thread}


def _where(scope: Scope | None) -> dict[str, Any] | None:
    if scope is None:
        return None
    fields = {"user": scope.user, "agent": scope.agent, "thread": scope.thread}
    return {"$and": [{name: {"$in": sorted({"", value})}} for name, value in fields.items()]}
