"""The live records in Chroma, line by line, found by what they are about.

  store/
    state.json     {"folder": "5e1b20c7", "embedder": "...", "change": 41, "form": 2}; replaced atomically
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..core import Embedder, MemoryFault
from ..model import blank
from .fact import Record, Scope
from .ledger import Ledger
from .passages import passages, searched

STATE = "state.json"
FORM = 2
COLLECTION = "records"
BATCH = 500  # lines that are embedded and written at once
LINES = 4  # of one record that may come before another is looked at


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that was found.

    Attributes:
        score: the cosine of what was asked and that line of it which comes nearest.
        line: that line; of a fact or a short note all there is.
    """

    record: Record
    score: float
    line: str


@dataclass(frozen=True, slots=True)
class _State:
    folder: str
    embedder: str
    change: int
    form: int  # of what is in Chroma


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
                query_embeddings=[vector.tolist()], n_results=k * LINES, where=_where(scope), include=["distances"]
            )
        nearest: dict[int, tuple[int, float]] = {}
        for place, distance in zip(found["ids"][0], found["distances"][0], strict=True):
            number, line = map(int, place.split("/"))
            nearest.setdefault(number, (line, 1 - distance))
        hits = []
        for record in self._ledger.get(nearest):
            line, score = nearest[record.id]
            if record.live:
                hits.append(Hit(record, score, passages(record)[line]))
        return hits[:k]

    def rebuild(self) -> int:
        """Make the store anew from the ledger; how many records are in it."""
        with self._locked():
            self._renew()
            return len({place.split("/")[0] for place in self._collection().get(include=[])["ids"]})

    def purge(self) -> None:
        """Make the store anew without what was forgotten; the lines that stay keep their vectors."""
        with self._locked():
            self._renew(self._vectors())

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
                self._write(records, {})
                self._point(replace(state, change=change))
        except Exception as error:
            if isinstance(error, MemoryFault):
                raise
            self._renew()
        return None

    def _usable(self, state: _State) -> bool:
        same = (state.embedder, state.form) == (self._embedder.fingerprint, FORM)
        return same and (self._folder / state.folder).is_dir() and not self._ledger.forgotten_after(state.change)

    def _vectors(self) -> dict[str, Any]:
        """Of the lines that hold still, by their places; none where they can't be read, or are of another embedder."""
        state, found = self._state(), dict[str, Any]()
        if state is None or (state.embedder, state.form) != (self._embedder.fingerprint, FORM):
            return {}
        records, _ = self._ledger.changed_after(0)
        places = [place for place, *_ in _lines(records)]
        try:
            if state != self._seen:
                self._open(state)
            for at in range(0, len(places), BATCH):
                part = self._collection().get(ids=places[at : at + BATCH], include=["embeddings"])
                found |= zip(part["ids"], part["embeddings"], strict=True)
        except Exception:  # whatever Chroma raises of a damaged folder
            return {}
        return found

    def _renew(self, vectors: Mapping[str, Any] | None = None) -> None:
        """
        Args:
            vectors: those that are known, by the places of their lines.
        """
        self.close()
        state = _State(
            secrets.token_hex(4), self._embedder.fingerprint, 0, FORM
        )  # Chroma keeps what it knows of a path
        try:
            self._open(state)
            records, change = self._ledger.changed_after(0)
            self._write(records, vectors or {})
            self._point(replace(state, change=change))
        except (OSError, RuntimeError, ValueError) as error:
            raise MemoryFault(f"{self._folder}: {error}", "see that it may be written; nothing told is lost") from error
        for other in self._folder.iterdir():
            if other.is_dir() and other.name != state.folder:
                shutil.rmtree(other, ignore_errors=True)

    def _write(self, records: Sequence[Record], vectors: Mapping[str, Any]) -> None:
        collection = self._collection()
        gone = [record.id for record in records if record.over]
        if gone:
            collection.delete(where={"record": {"$in": gone}})
        lines = _lines(records)
        for at in range(0, len(lines), BATCH):
            places, texts, shown, of = zip(*lines[at : at + BATCH], strict=True)
            new = {place: text for place, text in zip(places, texts, strict=True) if place not in vectors}
            fresh = dict(zip(new, self._embedder.embed(list(new.values())), strict=True)) if new else {}
            collection.upsert(
                ids=list(places),
                embeddings=[vectors[place] if place in vectors else fresh[place] for place in places],
                documents=list(shown),
                metadatas=[{"record": record.id, **_scope_of(record)} for record in of],
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
        temporary.write_text(json.dumps(asdict(state)))
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


def _lines(records: Iterable[Record]) -> list[tuple[str, str, str, Record]]:
    """Of what isn't over: the place of each line, what is embedded of it, and itself."""
    return [
        (f"{record.id}/{n}", searched(record)[n], line, record)
        for record in records
        if not record.over
        for n, line in enumerate(passages(record))
    ]


def _scope_of(record: Record) -> dict[str, str]:
    return {"user": record.scope.user, "agent": record.scope.agent, "thread": record.scope.thread}


def _where(scope: Scope | None) -> dict[str, Any] | None:
    if scope is None:
        return None
    fields = {"user": scope.user, "agent": scope.agent, "thread": scope.thread}
    return {"$and": [{name: {"$in": sorted({"", value})}} for name, value in fields.items()]}
