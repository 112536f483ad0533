"""A memory as users see it: one folder, told things, asked things, made to forget."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import Embedder, Generator, MemoryFault, Recall, Use
from ..model import MiniLM
from ..plugin import Plugin
from ..training import Step, TrainSettings
from . import chain
from .agreement import agrees
from .asking import Asking
from .background import Sleeper
from .database import Database
from .fact import EVERYBODY, QA, Fact, Note, Record, Scope, Told
from .forgetting import Forgetting
from .habits import Manners, Voice
from .ledger import ABOUT, Ledger, about
from .match import Match, Matcher
from .nights import fact_nights, habit_nights, slept, take_back, waiting
from .recall import from_store, stored
from .retriever import MemoryRetriever
from .sleep import SETTINGS, Lesson, Night, night, whole
from .slot import Slot, every_slot, slots
from .store import Hit, Store
from .telling import Telling
from .writer import writer_of

FILE, STORE, PLUGINS, RUN = "memory.sqlite", "store", "plugins", ".night"
_NO_BASE = ("only a base can learn", "give the memory a loragent.Base")


class Memory:
    """What an agent lived through.

    Safe for several threads, and for several processes on one folder.

    Args:
        folder: made if it isn't there.
        base: answers from what is found; anything that generates. Without one, what is found is the answer.
        embedder: of texts that are searched; by default MiniLM, which is fetched at the first use.
        sleep_after: facts that no night has seen, from which one begins by itself, in the background.
        writer: the plugin that reads facts out of free text; "auto" is ``memory-writer`` of the base's library, else
            the one that comes with loragent, where it was trained on this base; with None a text is kept as it is.

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
        writer: str | Path | Use | None = "auto",
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
        self._asking = Asking(self._ledger, self._store, self._matcher, base, self._slots)
        self._telling = Telling(self._database, self._ledger, writer_of(base, writer))
        self._manners = Manners(self.folder / PLUGINS, self._ledger, base)
        every = partial(every_slot, self.folder / PLUGINS, self._fingerprint)
        self._forgetting = Forgetting(self.folder, self.folder / RUN, self._database, self._ledger, self._store, every)

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
            what: one or several; a new value for a subject and relation closes the old one. Facts are read out of free
                text; what it says besides is kept as a note, and if that is forgotten, so are they.
            source: who says so.
            user, agent, thread: whose memory it is; by default everybody's. The user, or whoever speaks in a thread, is
                who "I" is in a text.
            derived_from: records that it follows from; if one of them is forgotten, so is this.

        Returns:
            the records, those that were there already included; what was read out of texts behind the others.

        Raises:
            MemoryFault: a text is empty or too long, or the disk can't take it; nothing was kept then.
        """
        given = [what] if isinstance(what, str | Fact | QA | Note) else list(what)
        parents = [item.id if isinstance(item, Record) else item for item in derived_from]
        records = self._telling.told(given, _now(), source=source, scope=Scope(user, agent, thread), parents=parents)
        self._may_sleep()
        return records

    def notice(self, text: str, *, source: str = "", user: str = "", agent: str = "", thread: str = "") -> list[Record]:
        """Keep the facts that somebody says in passing; none without a writer. What else is said stands in the log."""
        records = self._telling.noticed(text, _now(), source=source, scope=Scope(user, agent, thread))
        if records:
            self._may_sleep()
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
        return self._asking.answered(question, Scope(user, agent, thread), read)

    def consult(
        self, question: str, *, user: str = "", agent: str = "", thread: str = "", voice: Voice | None = None
    ) -> Recall:
        """:meth:`ask` for somebody who reads what the store has found himself.

        Args:
            voice: of who asks; a fact, and what a plugin answers, is said with the user's form of address and sign-off,
                where it has learnt them.
        """
        recall = self._asking.answered(question, Scope(user, agent, thread), stored)
        if voice is None or not (recall.value or recall.source == "plugin"):
            return recall
        text = self._manners.restyled(recall.text, user, voice)
        return replace(recall, text=text) if all(agrees(text, r) for r in self._ledger.get(recall.facts)) else recall

    def search(self, text: str, k: int = 5, *, user: str = "", agent: str = "", thread: str = "") -> list[Hit]:
        """What holds now and is nearest to a text, best first."""
        return self._store.search(text, k, Scope(user, agent, thread))

    def match(self, question: str, *, user: str = "", agent: str = "", thread: str = "") -> Match | None:
        """The fact that comes nearest to a question, of those whom it asks about; only the embedder is asked."""
        return self._matcher.nearest(question, Scope(user, agent, thread))

    def holder(self, record: Record) -> Plugin | None:
        """The plugin that answers for a record; None if that is the store's."""
        slot = self._asking.slot_of(record)
        return slot.plugin if slot is not None else None

    def mounted_for(self, record: Record) -> Use | None:
        """:meth:`holder`, as loud as it is asked."""
        slot = self._asking.slot_of(record)
        return slot.asked if slot is not None else None

    def facts(self, *, at: datetime | None = None) -> list[Record]:
        """What holds now, or held (will hold) at a time; oldest first."""
        at = at or _now()
        moment = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
        return self._ledger.find("valid_from <= ? AND (valid_to IS NULL OR valid_to > ?)", (moment, moment))

    def history(self, subject: str) -> list[Record]:
        """All that was ever told of a subject and not forgotten, oldest first."""
        return self._ledger.find(ABOUT, about(subject))

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
            settings: fields of ``TrainSettings`` over those of a night and of what it teaches.
            resume: go on with a night that was stopped.

        Raises:
            MemoryFault: there is no base that can be trained.
            TrainingError: the run can't be made; what was published before stays.
        """
        if not isinstance(self._base, Base):
            raise MemoryFault(*_NO_BASE)

        def settled(own: Mapping[str, Any]) -> TrainSettings:
            return TrainSettings.parse({**SETTINGS.model_dump(), **own, **(settings or {})})

        settled({})  # what is wrong is refused before anything is taught
        base, began, made = self._base, _now().isoformat(), list[Night]()

        def teach(slot: Slot, lesson: Lesson) -> Night:
            run, before = self.folder / RUN / slot.name, slot.in_use
            one = night(
                base,
                slot,
                lesson,
                run,
                publishing=self._publishing,
                settings=settled(lesson.settings),
                resume=resume,
                on_step=on_step,
            )
            self._append(chain.SLEPT, slept(one, before.version if before is not None else 0, began))
            made.append(one)
            return one

        for _, proved in fact_nights(base, self.folder / PLUGINS, self.facts(), self._ledger.doubted(), teach):
            self._ledger.trust(proved)
        habit_nights(self._manners, self.facts(), teach)
        return whole(made)

    def waiting(self) -> list[Record]:
        """What no night has seen yet, and could learn."""
        held = self.facts()
        return waiting(held, self.folder / PLUGINS, self._fingerprint) + self._manners.waiting(held)

    def hear(self, voice: Voice, base: Base | Generator) -> None:
        """Let nights teach a voice how its users want to be answered, where it speaks on this memory's base. Agents do
        it; where none was heard, the bare base learns it.
        """
        if base is self._base:
            self._manners.hear(voice)

    def manner(self, user: str, voice: Voice | None = None) -> Plugin | None:
        """The plugin that makes a voice, by default the bare base, answer as a user wants to be answered; None if it
        hasn't learnt that, or if he wants something else since.
        """
        return self._manners.plugin(user, voice or Voice())

    def revert(self) -> list[str]:
        """Undo the last night: use the plugins that there were before it. What it taught is the store's again.

        Returns:
            the names of the versions that are in use no more.

        Raises:
            MemoryFault: there is no night to take back.
        """
        gone = take_back(self.folder / PLUGINS, self.episodes())
        self._append(chain.REVERTED, {"version": " ".join(gone)})
        return gone

    def retriever(self, k: int = 4, *, user: str = "", agent: str = "", thread: str = "") -> MemoryRetriever:
        """The search as a langchain retriever."""
        return MemoryRetriever(search=partial(self.search, k=k, user=user, agent=agent, thread=thread))

    # -- forgetting and moving ---------------------------------------------------------------------

    def forget(
        self,
        what: str | Told | Record | None = None,
        *,
        query: str | None = None,
        user: str = "",
        thread: str = "",
    ) -> list[Record]:
        """Forget a subject, a fact, what a query means, or all of a user: from log, records and store, and whatever was
        derived.

        Args:
            what: the name of a subject, with all that says it; or a fact, as it was told or as it was found.
            query: instead: forgets what is so near to this text that it must be meant.
            user, thread: instead: all that was told and said in the name of a user, in a thread, or of both in it. That
                they were there, and when, stays in the log.

        Returns:
            what was forgotten, notes that said the same included; no file of the memory holds its words any more.

        Raises:
            MemoryFault: what is meant is not said, or a file can't be cleaned.
        """
        whose = Scope(user, "", thread) if user or thread else None
        if sum(given is not None for given in (what, query, whose)) != 1:
            raise MemoryFault("forget what?", "name a subject or a fact, or a query, or whose all of it is")
        return self._forgetting.forget(what, query, whose, _now())

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

    def _may_sleep(self) -> None:
        if self._sleep_after is not None and len(self.waiting()) >= self._sleep_after:
            self._sleeper.wake()

    @contextmanager
    def _publishing(self, records: Sequence[Record]) -> Iterator[bool]:
        """While something is published that was taught from records: whether all of them are remembered still."""
        with self._database.writing():
            yield len(self._ledger.get(record.id for record in records)) == len(records)

    def _append(self, kind: str, content: Mapping[str, Any], scope: Scope = EVERYBODY) -> int:
        with self._database.writing() as db:
            return chain.append(db, kind, content, scope, _now())

    def _slots(self) -> list[Slot]:
        return slots(self.folder / PLUGINS, self._fingerprint)

    @property
    def _fingerprint(self) -> str:
        return self._base.fingerprint if isinstance(self._base, Base) else ""


def _now() -> datetime:
    return datetime.now(UTC)
