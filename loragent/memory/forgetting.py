"""What is meant when something is to be forgotten, and whether it is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core import MemoryFault
from .fact import Fact, Record, Told, plain, says
from .ledger import Ledger
from .store import Store

FINDABLE = 5  # characters from which a text in a file is no chance
NEAR = 0.75  # cosine from which a record is what a query means


def meant(ledger: Ledger, store: Store, what: str | Told | Record | None, query: str | None) -> list[Record]:
    """The records that a subject, a fact or a query means; of what was read out of a text, the text too."""
    if query is not None:
        found = [hit.record for hit in store.search(query, k=50) if hit.score >= NEAR]
    elif isinstance(what, Record):
        found = ledger.get([what.id])
    elif isinstance(what, str):
        others = ledger.find("kind != 'fact'")
        named = ledger.find("subject = ?", (plain(what),))
        found = [*named, *(record for record in others if says(record.text, what))]
    else:
        assert what is not None
        same = plain(what.text)
        found = [record for record in ledger.find("key = ?", (what.key,)) if plain(record.text) == same]
    return [*found, *(text for record in found for text in ledger.get(record.parents) if _says_it(text, record))]


def _says_it(note: Record, fact: Record) -> bool:
    return note.kind == "note" and isinstance(fact.told, Fact) and says(note.text, fact.told.value)


def prove_gone(folder: Path, ledger: Ledger, words: Sequence[str]) -> None:
    """See that no file of a memory holds any of some words, but for those that other records hold too.

    Raises:
        MemoryFault: naming the file.
    """
    others = plain("\n".join(record.text for record in ledger.find()))
    sought = [word.encode() for word in words if len(word) >= FINDABLE and plain(word) not in others]
    for path in folder.rglob("*"):
        if path.is_file() and any(word in path.read_bytes() for word in sought):
            raise MemoryFault(f"{path} still holds what was forgotten", "forget it again, or remove the file")
