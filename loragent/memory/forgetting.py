"""What is meant when something is to be forgotten, taken out of wherever it is, and whether it is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from ..core import MemoryFault
from .database import Database
from .fact import FIRST_PERSON, Fact, Note, Record, Scope, Told, plain, says
from .ledger import ABOUT, Ledger, about, secrets_of
from .passages import sentences
from .slot import Slot
from .store import Store

FINDABLE = 5  # characters from which a text in a file is no chance
NEAR = 0.75  # cosine from which a record is what a query means


class Forgetting:
    """Takes what is meant out of plugins, records, log and store.

    Args:
        folder: of the memory, none of whose files may hold it any more.
        run: where nights keep what they have begun.
        slots: all that there are now.
    """

    def __init__(
        self,
        folder: Path,
        run: Path,
        database: Database,
        ledger: Ledger,
        store: Store,
        slots: Callable[[], Sequence[Slot]],
    ) -> None:
        self._folder, self._run, self._slots = folder, run, slots
        self._database, self._ledger, self._store = database, ledger, store

    def forget(
        self, what: str | Told | Record | None, query: str | None, whose: Scope | None, now: datetime
    ) -> list[Record]:
        """What was forgotten: what is meant by one of the first three, what was derived of it, and notes that said so.

        Raises:
            MemoryFault: "I" is meant, or a file can't be cleaned.
        """
        also = (what,) if isinstance(what, str) else ()
        with self._database.writing():  # no night publishes meanwhile what is to be forgotten
            sought = _meant(self._ledger, self._store, what, query, whose)
            doomed = self._ledger.with_derived(record.id for record in sought)
            going = self._ledger.get(doomed)
            texts = _texts_with(self._ledger, going, also)
            # Plugins first: whoever is killed here has lost nothing but training, and can forget again.
            for slot in self._slots():
                slot.forget(doomed)
            shutil.rmtree(self._run, ignore_errors=True)  # what a killed night had begun to learn
            if not doomed and not texts and whose is None:
                return []
            gone = self._ledger.forget(doomed, now, also, alone=[text.id for text in texts], whose=whose)
            for text in texts:
                if left := _without(text, going, also):
                    self._ledger.tell([Note(note=left)], now, source=text.source, scope=text.scope)
        self._database.shred()
        self._store.purge()
        facts = [word for record in going for word in secrets_of(record.told)]
        _prove_gone(self._folder, self._ledger, [*also, *facts])
        return gone


def _meant(
    ledger: Ledger, store: Store, what: str | Told | Record | None, query: str | None, whose: Scope | None
) -> list[Record]:
    """The records that a subject, a fact, a query or a scope means; notes that only say so are :func:`_texts_with`'s.

    Raises:
        MemoryFault: it is "I", which is somebody else in each thread.
    """
    if whose is not None:
        return [record for record in ledger.find() if record.scope.sees(whose)]
    if (what if isinstance(what, str) else getattr(what, "subject", "")) == FIRST_PERSON:
        raise MemoryFault('"I" is somebody else in each thread', "pass the record that is to be forgotten")
    if query is not None:
        return [hit.record for hit in store.search(query, k=50) if hit.score >= NEAR]
    if isinstance(what, Record):
        return ledger.get([what.id])
    if isinstance(what, str):
        answers = ledger.find("kind = 'qa'")
        named = ledger.find(ABOUT, about(what))
        return [*named, *(record for record in answers if says(record.text, what))]
    assert what is not None
    same = plain(what.text)
    return [record for record in ledger.find("key = ?", (what.key,)) if plain(record.text) == same]


def _texts_with(ledger: Ledger, gone: Sequence[Record], words: Sequence[str]) -> list[Record]:
    """Notes that say what some facts do, whether or not these were read out of them, or that say some words."""
    notes, ids = ledger.find("kind = 'note'"), {record.id for record in gone}
    return [note for note in notes if note.id not in ids and _secrets(note, gone, words)]


def _without(note: Record, gone: Sequence[Record], words: Sequence[str]) -> str:
    """The sentences of a note that say nothing of that."""
    secrets = _secrets(note, gone, words)
    return " ".join(line for line in sentences(note.text) if not any(says(line, secret) for secret in secrets))


def _secrets(note: Record, gone: Sequence[Record], words: Sequence[str]) -> list[str]:
    values = [fact.told.value for fact in gone if isinstance(fact.told, Fact) and _says_it(note, fact)]
    return [*values, *(word for word in words if says(note.text, word))]


def _says_it(note: Record, fact: Record) -> bool:
    told = fact.told
    if not isinstance(told, Fact) or not says(note.text, told.value):
        return False
    return note.id in fact.parents or (told.subject != FIRST_PERSON and says(note.text, told.subject))


def _prove_gone(folder: Path, ledger: Ledger, words: Sequence[str]) -> None:
    """See that no file of a memory holds any of some words, but for those that other records hold too.

    Raises:
        MemoryFault: naming the file.
    """
    others = plain("\n".join(record.text for record in ledger.find()))
    sought = [word.encode() for word in words if len(word) >= FINDABLE and plain(word) not in others]
    for path in folder.rglob("*"):
        if path.is_file() and any(word in path.read_bytes() for word in sought):
            raise MemoryFault(f"{path} still holds what was forgotten", "forget it again, or remove the file")
