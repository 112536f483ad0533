"""A whole night, slot by slot: who has something to learn, and how the last night is taken back."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import LoragentError, MemoryFault
from .chain import SLEPT, Episode
from .curriculum import MemoryCurriculum
from .fact import Record
from .habits import Manners
from .sleep import FORGOTTEN, Lesson, Night
from .slot import Slot, assigned, every_slot, slots

Teach = Callable[[Slot, Lesson], Night]


def fact_nights(
    base: Base, folder: Path, held: Sequence[Record], doubted: frozenset[int], teach: Teach
) -> Iterator[tuple[Night, tuple[int, ...]]]:
    """The night of each slot that has facts to learn, with the ids of what it answers for now: nothing, where none was
    published.

    Args:
        folder: of the slots.
        held: all that holds now.
        doubted: ids of records that a slot contradicted, though it had proved to know them.
        teach: the night of one slot.
    """
    records = learnable(held)
    keys = frozenset(record.told.key for record in records)
    for slot, share in assigned(folder, base.fingerprint, records, doubted):
        if slot.holds(share, doubted):
            continue
        known = frozenset(slot.registry().records) - doubted
        new, old = [r for r in share if r.id not in known], [r for r in share if r.id in known]
        made = teach(slot, MemoryCurriculum(base, new, old, keys))
        if old and {*made.reasons} - {FORGOTTEN}:  # what is new isn't tried here again: it would be refused again
            slot.refuse(record.id for record in old)
        yield made, () if made.reasons else slot.registry().records


def habit_nights(manners: Manners, held: Sequence[Record], teach: Teach) -> None:
    """The night of each user's habits and each voice that lacks them; one that fails keeps no other from it."""
    for slot, lesson in manners.lessons(held):
        try:
            made = teach(slot, lesson)
        except LoragentError as error:
            warnings.warn(f"habits were not learnt: {error}", stacklevel=2)
            continue
        if made.reasons:
            slot.refuse(record.id for record in lesson.new)


def learnable(held: Sequence[Record]) -> list[Record]:
    """What can be taught to plugins that all read: no notes, nothing that is one user's or one thread's, and nothing
    that is this to one agent and that to another.
    """
    found = [r for r in held if r.kind != "note" and not (r.scope.user or r.scope.thread)]
    several = Counter(record.told.key for record in found)
    return [record for record in found if several[record.told.key] == 1]


def waiting(held: Sequence[Record], folder: Path, base: str) -> list[Record]:
    """Of what holds now, the facts that no night has seen yet.

    Args:
        base: its fingerprint.
    """
    seen = {number for slot in slots(folder, base) for number in slot.registry().trained}
    return [record for record in learnable(held) if record.id not in seen]


def slept(made: Night, before: int, night: str) -> Mapping[str, Any]:
    """What the log says of the night of one slot.

    Args:
        before: the version that was in use; 0 if none was.
        night: by which all slots of a night are known.
    """
    learnt = {"learned": list(made.learned), "kept_in_store": list(made.kept_in_store), "reasons": list(made.reasons)}
    published = {made.version: before} if made.version and not made.reasons else {}
    return {"version": made.version, "seconds": made.seconds, **learnt, "published": published, "night": night}


def take_back(folder: Path, episodes: Sequence[Episode]) -> list[str]:
    """Undo the last night of which something is in use: each of its slots uses what it used before, or nothing.

    Args:
        episodes: of the log.

    Returns:
        the names of the versions that are in use no more.

    Raises:
        MemoryFault: there is none.
    """
    used = {str(slot.in_use): slot for slot in every_slot(folder, "") if slot.in_use is not None}
    gone, last = [], ""
    for episode in reversed(episodes):
        content = episode.content if episode.kind == SLEPT and episode.content else {}
        for name, before in dict(content.get("published", ())).items():
            if name in used and last in ("", content["night"]):
                used[name].use(before)
                gone.append(name)
                last = content["night"]
    if not gone:
        raise MemoryFault("there is no night to take back", "sleep first")
    return gone
