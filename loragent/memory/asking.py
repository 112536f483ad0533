"""A question's way: to the fact that it names, to the plugin that holds it, else to what the store has found."""

from __future__ import annotations

from collections.abc import Callable

from ..base import Base
from ..core import Generator, Recall
from .agreement import rests_on
from .fact import QA, Record, Scope
from .ledger import Ledger
from .match import Matcher
from .recall import LEAST, Found, from_plugin, nothing
from .slot import Slot
from .store import Store

READ, NOTES = 8, 3  # records that are looked at for a question, and notes that are read


class Asking:
    """Answers from a memory's slots and its store.

    Args:
        slots: those that there are now, the oldest first.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        matcher: Matcher,
        base: Base | Generator | None,
        slots: Callable[[], list[Slot]],
    ) -> None:
        self._ledger, self._store, self._matcher = ledger, store, matcher
        self._base, self._slots = base, slots

    def answered(self, question: str, scope: Scope, read: Callable[[Found], Recall]) -> Recall:
        """The plugin's answer where it has proved to know, is sure, and agrees with what was told.

        Args:
            read: makes an answer of what the store has found.
        """
        found = self._found(question, scope) if question.strip() else None
        if found is None:
            return nothing()
        record = found.records[0]
        slot = self.slot_of(record)
        if slot is not None and isinstance(self._base, Base):
            recall, agreed = from_plugin(found.question, record, slot, self._base)
            if not agreed:
                self._ledger.doubt(record.id)
            if recall is not None:
                return recall
        return read(found)

    def slot_of(self, record: Record) -> Slot | None:
        """The newest slot that answers for a record: what one contradicted is taught to another."""
        holding = [slot for slot in self._slots() if record.id in slot.registry().records]
        return max(holding, key=lambda slot: slot.published, default=None)

    def _found(self, question: str, scope: Scope) -> Found | None:
        """What a question asks for: the fact that it names, or else what comes near enough."""
        match = self._matcher.nearest(question, scope)
        if match is not None and match.known:
            return Found((match.record,), (match.record.text,), match.score, match.question)
        hits = self._store.search(question, READ, scope)
        near = [hit for hit in hits if hit.record.kind != "fact" and hit.score >= LEAST]
        near = [hit for hit in near if not _of_another(question, hit.record)]
        if near and near[0].record.kind == "note":
            near = [hit for hit in near if hit.record.kind == "note"][:NOTES]
        else:
            near = near[:1]  # an answer that was told is the answer
        if not near:
            return None
        return Found(tuple(hit.record for hit in near), tuple(hit.line for hit in near), near[0].score, question)


def _of_another(question: str, record: Record) -> bool:
    """Whether a question names somebody, or something, that neither a told question nor its answer does: it is like it
    ("Who wrote ...?"), and another.
    """
    return isinstance(record.told, QA) and not rests_on(question, record.text)
