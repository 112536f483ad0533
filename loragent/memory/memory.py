"""A memory as users see it: one folder, told things, asked things, made to forget."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import Embedder, Generator, MemoryFault, Recall
from ..model import MiniLM
from ..plugin import Plugin
from ..training import Step, TrainSettings
from . import chain
from .background import Sleeper
from .database import Database
from .fact import EVERYBODY, QA, Fact, Note, Record, Scope, Told, plain, says
from .ledger import Ledger, secrets_of
from .match import Match, Matcher
from .recall import LEAST, Found, from_plugin, from_store, nothing, stored
from .retriever import MemoryRetriever
from .sleep import SETTINGS, Night, night, whole
from .slot import Slot, assigned, slots
from .store import Hit, Store

FILE, STORE, PLUGINS, RUN = "memory.sqlite", "store", "plugins", ".night"
FINDABLE = 5  # characters from which a text in a file is no chance
_NO_BASE = ("only a base can learn", "give the memory a loragent.Base")
READ, NOTES = 8, 3  # records that are looked at for a question, and notes that are read
NEAR = 0.75  # cosine from which a record is what a query means, when it is to be forgotten


class Memory:
    """What an agent lived through.

    Safe for several threads, and for several processes on one folder.

    Args:
        folder: made if it isn't there.
        base: answers from what is found; anything that generates. Without one, what is found is the answer.
        embedder: of texts that are searched; by default MiniLM, which is fetched at the first use.
        sleep_after: facts that no night has seen, from which one begins by itself, in the background.

    Raises:
        MemoryFault: the folder holds something else, or can't be read or written; or it is to sleep without a base.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        base: Base | Generator | None = None,
        embedder: Embedder | None = None,
        sleep_after: int | None = None,
    ) -> None:
        self.folder = Path(folder).expanduser()
        if self.folder.exists() and not self.folder.is_dir():
            raise MemoryFault(f"{self.folder} is a file", "name a folder")
        if sleep_after is not None and not isinstance(base, Base):
            raise MemoryFault(*_NO_BASE)
        self._base = base
        self._database = Database(self.folder / FILE)
        self._ledger = Ledger(self._database)
        embedder = embedder or MiniLM()
        self._store = Store(self.folder / STORE, self._ledger, embedder)
        self._matcher = Matcher(self._ledger, embedder)
        self._sleep_after, self._sleeper = sleep_after, Sleeper(self.sleep)

    def __repr__(self) -> str:
        return f"Memory({self.folder})"

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        told = [Note(note=item) if isinstance(item, str) else item for item in given]
        text = "\n".join(item for item in given if isinstance(item, str))
        parents = [item.id if isinstance(item, Record) else item for item in derived_from]
        scope = Scope(user, agent, thread)
        records = self._ledger.tell(told, _now(), source=source, scope=scope, text=text, parents=parents)
        if self._sleep_after is not None and len(self.waiting()) >= self._sleep_after:
            self._sleeper.wake()
        return records

    def log(self, kind: str, content: Mapping[str, Any], *, user: str = "", agent: str = "", thread: str = "") -> int:
        """Write an episode that tells no fact (a turn, a tool's result); its number in the log."""
        if kind in chain.OWN_KINDS:
            raise MemoryFault(f"{kind!r} is a kind of episode that the memory writes itself", "name another kind")
        return self._append(kind, content, Scope(user, agent, thread))

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, question: str, *, user: str = "", agent: str = "", thread: str = "") -> Recall:
        """Answer a question from what is remembered, or say that it isn't.

        A plugin answers where it has proved to know, is sure, and agrees with what was told; else the base reads what
        the store has found.
        """
        read = partial(from_store, question, model=self._base) if self._base is not None else stored
        return self._recalled(question, Scope(user, agent, thread), read)

    def consult(self, question: str, *, user: str = "", agent: str = "", thread: str = "") -> Recall:
        """:meth:`ask` for somebody who reads what the store has found himself."""
        return self._recalled(question, Scope(user, agent, thread), stored)

    def search(self, text: str, k: int = 5, *, user: str = "", agent: str = "", thread: str = "") -> list[Hit]:
        """What holds now and is nearest to a text, best first."""
        return self._store.search(text, k, Scope(user, agent, thread))

    def match(self, question: str, *, user: str = "", agent: str = "", thread: str = "") -> Match | None:
        """The fact that comes nearest to a question, of those whom it asks about; only the embedder is asked."""
        return self._matcher.nearest(question, Scope(user, agent, thread))

    def holder(self, record: Record) -> Plugin | None:
        """The plugin that answers for a record; None if that is the store's."""
        slot = self._slot_of(record)
        return slot.plugin if slot is not None else None

    def facts(self, *, at: datetime | None = None) -> list[Record]:
        """What holds now, or held (will hold) at a time; oldest first."""
        at = at or _now()
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

    # -- learning ----------------------------------------------------------------------------------

    def sleep(
        self,
        *,
        settings: Mapping[str, Any] | None = None,
        resume: bool = False,
        on_step: Callable[[Step], None] | None = None,
    ) -> Night:
        """Train what was told into a plugin, which answers from now on what it proves to know.

        The base goes on answering meanwhile.

        Args:
            settings: fields of ``TrainSettings`` over those of a night.
            resume: go on with a night that was stopped.

        Raises:
            MemoryFault: there is no base that can be trained.
            TrainingError: the run can't be made; what was published before stays.
        """
        if not isinstance(self._base, Base):
            raise MemoryFault(*_NO_BASE)
        chosen = TrainSettings.parse({**SETTINGS.model_dump(), **(settings or {})})
        doubted, nights = self._ledger.doubted(), []
        learnable = self._learnable()
        known = frozenset(record.told.key for record in learnable)
        for slot, records in assigned(self.folder / PLUGINS, self._fingerprint, learnable):
            if slot.holds(records, doubted):
                continue
            workdir = self.folder / RUN / slot.name
            made = night(
                self._base,
                slot,
                records,
                workdir,
                known=known,
                doubted=doubted,
                settings=chosen,
                resume=resume,
                on_step=on_step,
            )
            self._ledger.trust(slot.registry().records if not made.reasons else ())
            nights.append(made)
        found = whole(nights)
        if nights:
            self._append(chain.SLEPT, asdict(found))
        return found

    def waiting(self) -> list[Record]:
        """What no night has seen yet."""
        seen = {number for slot in self._slots() for number in slot.registry().trained}
        return [record for record in self._learnable() if record.id not in seen]

    def revert(self) -> str:
        """Go back to the version of the plugin before the one in use; its name.

        Raises:
            PluginNotFound: there is none.
        """
        used = [slot for slot in self._slots() if slot.shelf.exists()]
        if not used:
            raise MemoryFault(f"{self.folder} has not slept yet", "sleep first")
        newest = max(used, key=lambda slot: slot.shelf.get().manifest.created)
        version = str(newest.shelf.rollback())
        self._append(chain.REVERTED, {"version": version})
        return version

    def retriever(self, k: int = 4, *, user: str = "", agent: str = "", thread: str = "") -> MemoryRetriever:
        """The search as a langchain retriever."""
        return MemoryRetriever(search=partial(self.search, k=k, user=user, agent=agent, thread=thread))

    # -- forgetting and moving ---------------------------------------------------------------------

    def forget(self, what: str | Told | Record | None = None, *, query: str | None = None) -> list[Record]:
        """Forget a subject, a fact, or what a query means: from log, records and store, and whatever was derived.

        Args:
            what: the name of a subject, with all that says it; or a fact, as it was told or as it was found.
            query: instead: forgets what is so near to this text that it must be meant.

        Returns:
            what was forgotten; no file of the memory holds its words any more.

        Raises:
            MemoryFault: what is meant is not said, or a file can't be cleaned.
        """
        if (what is None) == (query is None):
            raise MemoryFault("forget what?", "name a subject, a fact, or a query")
        also = (what,) if isinstance(what, str) else ()
        doomed = self._ledger.with_derived(record.id for record in self._meant(what, query))
        # Plugins first: whoever is killed here has lost nothing but training, and can forget again.
        for slot in self._slots():
            slot.forget(doomed)
        shutil.rmtree(self.folder / RUN, ignore_errors=True)  # what a killed night had begun to learn
        gone = self._ledger.forget(doomed, _now(), also) if doomed else []
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
            if (self.folder / PLUGINS).is_dir():
                shutil.copytree(self.folder / PLUGINS, target / PLUGINS)
        except OSError as error:
            raise MemoryFault(f"{target}: {error}", "name a folder that can be written") from error
        return target

    def close(self) -> None:
        """Let go of the files, when a night in the background is over."""
        self._sleeper.wait()
        self._store.close()
        self._database.close()

    def _learnable(self) -> list[Record]:
        return [record for record in self.facts() if record.kind != "note"]

    def _append(self, kind: str, content: Mapping[str, Any], scope: Scope = EVERYBODY) -> int:
        with self._database.writing() as db:
            return chain.append(db, kind, content, scope, _now())

    def _recalled(self, question: str, scope: Scope, read: Callable[[Found], Recall]) -> Recall:
        found = self._found(question, scope) if question.strip() else None
        if found is None:
            return nothing()
        record = found.records[0]
        slot = self._slot_of(record)
        if slot is not None and isinstance(self._base, Base):
            recall, agreed = from_plugin(question, record, slot, self._base)
            if not agreed:
                self._ledger.doubt(record.id)
            if recall is not None:
                return recall
        return read(found)

    def _found(self, question: str, scope: Scope) -> Found | None:
        """What a question asks for: the fact that it names, or else what comes near enough."""
        match = self._matcher.nearest(question, scope)
        if match is not None and match.known:
            return Found((match.record,), (match.record.text,), match.score)
        hits = self._store.search(question, READ, scope)
        near = [hit for hit in hits if hit.record.kind != "fact" and hit.score >= LEAST]
        if near and near[0].record.kind == "note":
            near = [hit for hit in near if hit.record.kind == "note"][:NOTES]
        else:
            near = near[:1]  # an answer that was told is the answer
        if not near:
            return None
        return Found(tuple(hit.record for hit in near), tuple(hit.line for hit in near), near[0].score)

    def _slots(self) -> list[Slot]:
        return slots(self.folder / PLUGINS, self._fingerprint)

    def _slot_of(self, record: Record) -> Slot | None:
        return next((slot for slot in self._slots() if record.id in slot.registry().records), None)

    @property
    def _fingerprint(self) -> str:
        return self._base.fingerprint if isinstance(self._base, Base) else ""

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
            others = self._ledger.find("kind != 'fact'")
            return [*self.history(what), *(record for record in others if says(record.text, what))]
        assert what is not None
        same = plain(what.text)
        return [record for record in self._ledger.find("key = ?", (what.key,)) if plain(record.text) == same]


def _now() -> datetime:
    return datetime.now(UTC)
