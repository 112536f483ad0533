"""A slot: a plugin that holds some of the records, and the list of those that it holds.

  plugins/memory-1/
    pointer.json
    3/                 a version: the plugin, and registry.json: which records it answers for, and how sure it has to be

The registry lies within the version, so that the same move of the pointer publishes both.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core import MemoryFault, PluginNotFound, Use
from ..plugin import POINTER, Plugin, Shelf
from .fact import QA, Record

REGISTRY, REFUSED = "registry.json", "refused.json"
ROOM = 60  # facts that a slot takes at most
ENOUGH = 16  # of them, from which nothing is added: what rests can't be lost (docs/adr/0019)
WORDS = 10  # of an answer that was told, that take the place of one fact (docs/adr/0022)


@dataclass(frozen=True, slots=True)
class Registry:
    """What a version of a slot's plugin answers for.

    Attributes:
        records: ids of those that it was asked and knew.
        trained: ids of all that it, or a version that it was continued from, was trained on.
        sure: the probability of its answer, a token on average, from which it is believed.
        loud: the scale at which it is asked, if it was made softer than it was trained (docs/adr/0023).
    """

    records: tuple[int, ...] = ()
    trained: tuple[int, ...] = ()
    sure: float = 1.0
    loud: float = 1.0

    def write(self, folder: Path) -> None:
        (folder / REGISTRY).write_text(json.dumps(asdict(self)) + "\n")


class Slot:
    """One of a memory's plugins.

    Args:
        base: fingerprint of the base that is to be answered with; versions that were trained on another are kept, but
            not used.
    """

    def __init__(self, folder: Path, name: str, base: str) -> None:
        self.name, self._base = name, base
        self.shelf = Shelf(folder / name)

    @property
    def published(self) -> tuple[str, int, str]:
        """When the version in use was, for to compare; of slots of the same second the later one."""
        plugin = self.plugin
        return (plugin.manifest.created if plugin is not None else "", len(self.name), self.name)

    @property
    def plugin(self) -> Plugin | None:
        """The version in use; None before the first night on this base, or where that was taken back."""
        plugin = self.in_use
        return plugin if plugin is not None and plugin.manifest.base == self._base else None

    @property
    def in_use(self) -> Plugin | None:
        """The version in use, whatever base it was trained on."""
        try:
            return self.shelf.get()
        except PluginNotFound:
            return None

    @property
    def asked(self) -> Use | None:
        """The version in use, as loud as it was trained: so it is asked for what it answers for."""
        mounted = self.mounted()
        return asked_as(*mounted) if mounted is not None else None

    def mounted(self) -> tuple[Plugin, Registry] | None:
        """The version in use and what just it answers for."""
        plugin = self.plugin
        return (plugin, self.registry(plugin.version)) if plugin is not None else None

    def registry(self, version: int | None = None) -> Registry:
        """Of a version, by default the one in use; an empty one before the first night on this base.

        Raises:
            MemoryFault: it can't be read.
        """
        plugin = self.plugin if version is None else self.shelf.get(version)
        if plugin is None:
            return Registry()
        path = plugin.path / REGISTRY
        try:
            found = json.loads(path.read_text())
            loud = float(found.get("loud", 1.0))
            return Registry(tuple(found["records"]), tuple(found["trained"]), float(found["sure"]), loud)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MemoryFault(f"{path}: {error}", "revert to the version before it, or sleep again") from error

    def holds(self, records: Iterable[Record], doubted: frozenset[int]) -> bool:
        """Whether the version in use answers for all of some records, and contradicted none."""
        known = frozenset(self.registry().records) - doubted
        return all(record.id in known for record in records)

    def forget(self, ids: Iterable[int]) -> bool:
        """Remove every version that was trained on some records; whether there was one.

        The newest of the others comes into use; without one, the slot is empty until the next night.
        """
        gone = set(ids)
        if not self.shelf.path.is_dir():
            return False
        for leftover in self.shelf.path.glob(".part-*"):  # of a publish that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        tainted = [version for version in self.shelf.versions() if gone.intersection(self.registry(version).trained)]
        if not tainted:
            return False
        clean = [version for version in self.shelf.versions() if version not in tainted]
        if not clean:
            self.clear()
            return True
        plugin = self.in_use
        if plugin is not None and plugin.version in tainted:
            self.shelf.rollback(clean[-1])
        elif not self.shelf.exists():  # killed before it pointed to its first version
            self.shelf.withdraw()
        for version in tainted:
            self.shelf.remove(version)
        return True

    def clear(self) -> None:
        """Remove all versions."""
        # First of all: a slot without a pointer is empty, whatever else is left.
        (self.shelf.path / POINTER).unlink(missing_ok=True)
        shutil.rmtree(self.shelf.path)

    def use(self, version: int) -> None:
        """Use a version, or none, where it isn't there (0, or one that was forgotten)."""
        if version in self.shelf.versions():
            self.shelf.rollback(version)
        else:
            self.shelf.withdraw()

    def refuse(self, ids: Iterable[int]) -> None:
        """Note that a lesson on just these records, or beside just these, was refused, so that it isn't tried again."""
        self.shelf.path.mkdir(parents=True, exist_ok=True)
        (self.shelf.path / REFUSED).write_text(json.dumps({"base": self._base, "records": sorted(ids)}))

    def refused(self) -> frozenset[int]:
        """The ids that :meth:`refuse` noted last on this base."""
        try:
            found = json.loads((self.shelf.path / REFUSED).read_text())
            return frozenset(found["records"]) if found["base"] == self._base else frozenset()
        except (OSError, ValueError, KeyError, TypeError):
            return frozenset()


def asked_as(plugin: Plugin, registry: Registry) -> Use:
    """A version as the memory mounts it on what it answers for."""
    return Use(plugin.path, scale=registry.loud)


def slots(folder: Path, base: str) -> list[Slot]:
    """The slots of a memory, in their order; those that were emptied included, but for the last ones."""
    numbers = [int(path.name.rpartition("-")[2]) for path in folder.glob("memory-*") if path.is_dir()]
    return [Slot(folder, _name(number), base) for number in range(1, max(numbers, default=0) + 1)]


def every_slot(folder: Path, base: str) -> list[Slot]:
    """The slots of a memory, and those that hold how users want to be answered by a voice."""
    manners = sorted(path.name for path in folder.glob("manner-*") if path.is_dir())
    return slots(folder, base) + [Slot(folder, name, base) for name in manners]


def manner_slot(folder: Path, base: str, user: str, voice: str) -> Slot:
    """The slot of one user and one voice (its key). Names may be anything, so the folder has a digest."""
    return Slot(folder, f"manner-{hashlib.sha256(f'{voice}|{user}'.encode()).hexdigest()[:12]}", base)


def assigned(
    folder: Path, base: str, records: Sequence[Record], doubted: frozenset[int] = frozenset()
) -> list[tuple[Slot, list[Record]]]:
    """The slots of a memory and what each shall hold: what it answers for, and in those that are open what no slot
    answers for. Where they are full, or would lose what they hold, the next one is opened.

    Args:
        doubted: ids of records that a slot contradicted: they are taught anew, in an open one.
    """
    found = slots(folder, base) or [Slot(folder, _name(1), base)]
    newest_last = sorted(found, key=lambda slot: slot.published)
    home = {number: slot.name for slot in newest_last for number in slot.registry().records if number not in doubted}
    shall: dict[str, list[Record]] = {slot.name: [] for slot in found}
    for record in (record for record in records if record.id in home):
        shall[home[record.id]].append(record)
    opened = [slot.name for slot in found[:-1] if slot.plugin is None]  # what was in it was forgotten
    if not _rests(found[-1], shall[found[-1].name]):
        opened.append(found[-1].name)
    for record in (record for record in records if record.id not in home):
        name = next((name for name in opened if taken([*shall[name], record]) <= ROOM), None)
        if name is None:
            name = _name(len(shall) + 1)
            opened.append(name)
        shall.setdefault(name, []).append(record)
    return [(Slot(folder, name, base), held) for name, held in shall.items()]


def _rests(slot: Slot, held: Sequence[Record]) -> bool:
    """Whether it has enough, or a night beside what it holds was refused."""
    return taken(held) >= ENOUGH or (bool(held) and slot.refused() == {record.id for record in held})


def taken(records: Iterable[Record]) -> float:
    """How much of a slot's room some records take."""
    return sum(max(1.0, len(r.told.answer.split()) / WORDS) if isinstance(r.told, QA) else 1.0 for r in records)


def _name(number: int) -> str:
    return f"memory-{number}"
