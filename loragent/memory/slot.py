"""A slot: a plugin that holds some of the records, and the list of those that it holds.

  plugins/memory-1/
    pointer.json
    3/                 a version: the plugin, and registry.json: which records it answers for, and how sure it has to be

The registry lies within the version, so that the same move of the pointer publishes both.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core import MemoryFault
from ..plugin import POINTER, Plugin, Shelf
from .fact import Record

REGISTRY = "registry.json"
ROOM = 60  # records that a slot takes at most
ENOUGH = 40  # of them, from which nothing is added: what rests can't be lost (docs/adr/0019)


@dataclass(frozen=True, slots=True)
class Registry:
    """What a version of a slot's plugin answers for.

    Attributes:
        records: ids of those that it was asked and knew.
        trained: ids of all that it, or a version that it was continued from, was trained on.
        sure: the probability of its answer, a token on average, from which it is believed.
    """

    records: tuple[int, ...] = ()
    trained: tuple[int, ...] = ()
    sure: float = 1.0

    def write(self, folder: Path) -> None:
        (folder / REGISTRY).write_text(json.dumps(asdict(self)) + "\n")


class Slot:
    """One of a memory's plugins.

    Args:
        base: fingerprint of the base that is to be answered with; versions that were trained on another are kept, but
            not used.
    """

    def __init__(self, folder: Path, number: int, base: str) -> None:
        self.number, self._base = number, base
        self.name = f"memory-{number}"
        self.shelf = Shelf(folder / self.name)

    @property
    def published(self) -> tuple[str, int]:
        """When the version in use was, for to compare; of slots of the same second the later one."""
        plugin = self.plugin
        return (plugin.manifest.created if plugin is not None else "", self.number)

    @property
    def plugin(self) -> Plugin | None:
        """The version in use; None before the first night on this base."""
        plugin = self.shelf.get() if self.shelf.exists() else None
        return plugin if plugin is not None and plugin.manifest.base == self._base else None

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
            return Registry(tuple(found["records"]), tuple(found["trained"]), float(found["sure"]))
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
        tainted = [version for version in self.shelf.versions() if gone.intersection(self.registry(version).trained)]
        if not tainted:
            return False
        clean = [version for version in self.shelf.versions() if version not in tainted]
        if not clean:
            (self.shelf.path / POINTER).unlink()  # first of all: a slot without it is empty, whatever else is left
            shutil.rmtree(self.shelf.path)
            return True
        if self.shelf.current() in tainted:
            self.shelf.rollback(clean[-1])
        for version in tainted:
            self.shelf.remove(version)
        return True


def slots(folder: Path, base: str) -> list[Slot]:
    """The slots of a memory, in their order; those that were emptied included, but for the last ones."""
    numbers = [int(path.name.rpartition("-")[2]) for path in folder.glob("memory-*") if path.is_dir()]
    return [Slot(folder, number, base) for number in range(1, max(numbers, default=0) + 1)]


def assigned(
    folder: Path, base: str, records: Sequence[Record], doubted: frozenset[int] = frozenset()
) -> list[tuple[Slot, list[Record]]]:
    """The slots of a memory and what each shall hold: what it answers for, and in those that are open what no slot
    answers for. Where they are full, the next one is opened.

    Args:
        doubted: ids of records that a slot contradicted: they are taught anew, in an open one.
    """
    found = slots(folder, base) or [Slot(folder, 1, base)]
    newest_last = sorted(found, key=lambda slot: slot.published)
    home = {number: slot.number for slot in newest_last for number in slot.registry().records if number not in doubted}
    shall: dict[int, list[Record]] = {slot.number: [] for slot in found}
    for record in (record for record in records if record.id in home):
        shall[home[record.id]].append(record)
    opened = [slot.number for slot in found[:-1] if slot.plugin is None]  # what was in it was forgotten
    if len(shall[found[-1].number]) < ENOUGH:
        opened.append(found[-1].number)
    for record in (record for record in records if record.id not in home):
        number = next((number for number in opened if len(shall[number]) < ROOM), None)
        if number is None:
            number = len(shall) + 1
            opened.append(number)
        shall.setdefault(number, []).append(record)
    return [(Slot(folder, number, base), held) for number, held in shall.items()]
