"""What is told becomes records: facts and answers as they are, texts as the facts that they state and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from .database import Database
from .fact import FIRST_PERSON, Fact, Note, Record, Scope, Told
from .ledger import Ledger
from .writer import Writer, rest


class Telling:
    """Writes into a ledger, all of one telling or nothing.

    Args:
        writer: reads facts out of texts; without one a text is kept as it is.
    """

    def __init__(self, database: Database, ledger: Ledger, writer: Writer | None) -> None:
        self._database, self._ledger, self._writer = database, ledger, writer

    def told(
        self, given: Sequence[str | Told], time: datetime, *, source: str, scope: Scope, parents: Sequence[int]
    ) -> list[Record]:
        """The records of what is told; what was read out of texts behind the others.

        A text's facts have what else it says as their parent: to forget either is to forget both.
        """
        as_told = [Note(note=item) if isinstance(item, str) else item for item in given]  # says what can't be kept
        texts = [item.strip() for item in given if isinstance(item, str)]
        read = self._read(texts, scope, time)
        pairs = zip(as_told, given, strict=True)
        direct = [told for told, item in pairs if not (isinstance(item, str) and item.strip() in read)]
        tell = partial(self._ledger.tell, time=time, source=source, scope=scope)
        with self._database.writing():
            left = "\n".join(text for text in texts if text not in read)
            records = tell(direct, text=left, parents=parents) if direct else []
            for text, facts in read.items():
                kept = rest(text, facts)
                note = tell([Note(note=kept)], text=text, parents=parents) if kept else []
                records += [*tell(facts, parents=[*parents, *(n.id for n in note)], text="" if note else text), *note]
        return records

    def noticed(self, text: str, time: datetime, *, source: str, scope: Scope) -> list[Record]:
        """The records of the facts alone that stand in a text."""
        facts = [fact for found in self._read([text], scope, time).values() for fact in found]
        return self._ledger.tell(facts, time, source=source, scope=scope, text=text) if facts else []

    def _read(self, texts: Sequence[str], scope: Scope, time: datetime) -> dict[str, list[Fact]]:
        """The texts that facts were read out of, with them."""
        if self._writer is None or not texts:
            return {}
        texts = list(dict.fromkeys(texts))
        found = self._writer.read(texts, scope.user or (FIRST_PERSON if scope.thread else ""), time)
        return {text: facts for text, facts in zip(texts, found, strict=True) if facts}
