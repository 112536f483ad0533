"""A whole night, slot by slot: who has something to learn, and how the last night is taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from ..base import Base
from ..core import MemoryFault
from .chain import SLEPT, Episode
from .curriculum import MemoryCurriculum
from .fact import Record
from .habits import HabitLesson
from .manner import habits_of
from .sleep import Lesson, Night
from .slot import Slot, assigned, every_slot, manner_slot, slots
from .voice import Voice


def nights(
    base: Base,
    folder: Path,
    held: Sequence[Record],
    doubted: frozenset[int],
    voices: Mapping[str, Voice],
    teach: Callable[[Slot, Lesson], Night],
) -> Iterator[tuple[Night, tuple[int, ...]]]:
    """The night of each slot that has something to learn, with the ids of what it answers for now: nothing, where no
    version was published.

    Args:
        folder: of the slots.
        held: all that holds now.
        doubted: ids of records that a slot contradicted, though it had proved to know them.
        voices: by their keys, those that answer users.
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
        yield made, () if made.reasons else slot.registry().records
    for (user, habits), (key, voice) in product(habits_by_user(held).items(), voices.items()):
        slot = manner_slot(folder, base.fingerprint, user, key)
        lesson = HabitLesson(base, habits, voice)
        if lesson.teaches and set(slot.registry().trained) != {record.id for record in habits.values()}:
            yield teach(slot, lesson), ()


def learnable(held: Sequence[Record]) -> list[Record]:
    """What can be taught to plugins that all read: no notes, nothing that is one thread's, nothing that is this to one
    and that to another, and no habits, which have plugins of their own.
    """
    habits = {record.id for found in habits_by_user(held).values() for record in found.values()}
    found = [r for r in held if r.kind != "note" and not r.scope.thread and r.id not in habits]
    several = Counter(record.told.key for record in found)
    return [record for record in found if several[record.told.key] == 1]


def habits_by_user(held: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """The habits of all users who have some, by the part of the manner."""
    owned: dict[str, list[Record]] = {}
    for record in held:
        owned.setdefault(record.scope.user, []).append(record)
    return {user: habits for user in sorted(owned) if (habits := habits_of(owned[user], user))}


def waiting(held: Sequence[Record], folder: Path, base: str, voices: Iterable[str]) -> list[Record]:
    """Of what holds now, what no night has seen yet, in the order in which it was told.

    Args:
        base: its fingerprint.
        voices: the keys of those that answer users.
    """
    seen = {number for slot in slots(folder, base) for number in slot.registry().trained}
    found = {record.id: record for record in learnable(held) if record.id not in seen}
    for (user, habits), voice in product(habits_by_user(held).items(), voices):
        known = manner_slot(folder, base, user, voice).registry().trained
        found |= {record.id: record for record in habits.values() if record.id not in known}
    return [found[number] for number in sorted(found)]


def take_back(folder: Path, base: str, episodes: Sequence[Episode]) -> list[str]:
    """Undo the last night of which something is in use: its versions make way for those before them.

    A slot that had none before is left without one until the next night.

    Args:
        episodes: of the log; nights that were taken back already are passed over.

    Returns:
        the names of the versions that are in use no more.

    Raises:
        MemoryFault: there is none.
    """
    used = {str(slot.plugin): slot for slot in every_slot(folder, base) if slot.plugin is not None}
    for episode in reversed(episodes):
        content = episode.content if episode.kind == SLEPT and episode.content else {}
        published = content.get("published", str(content.get("version", "")).split())  # older logs name those in use
        gone = [name for name in published if name in used]
        for name in gone:
            used[name].step_back()
        if gone:
            return gone
    raise MemoryFault("there is no night to take back", "sleep first")
