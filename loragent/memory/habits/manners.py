"""Which plugin makes an agent answer a user as he wants to be answered, and what is to be taught for that."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...base import Base
from ...core import Generator, LoragentError, PluginError, Use
from ...plugin import Plugin
from ..fact import Record
from ..ledger import Ledger
from ..slot import Slot, manner_slot
from .lesson import HabitLesson, speaks
from .manner import Manner, habit_keys, habits_by_user, habits_of, manner_of
from .voice import Voice


@dataclass(frozen=True, slots=True)
class _Task:
    """What one user wants of one voice, and where it is kept."""

    slot: Slot
    voice: Voice
    habits: Mapping[str, Record]  # those that the voice can learn

    @property
    def ids(self) -> frozenset[int]:
        return frozenset(record.id for record in self.habits.values())

    @property
    def done(self) -> bool:
        """Whether it is learnt, or was tried in vain."""
        return self.ids in (self.trained, self.slot.refused())

    @property
    def trained(self) -> frozenset[int]:
        """What the version in use was trained on."""
        return frozenset(self.slot.registry().trained)


class Manners:
    """The manners of a memory's users.

    Args:
        folder: of the slots.
    """

    def __init__(self, folder: Path, ledger: Ledger, base: Base | Generator | None) -> None:
        self._folder, self._ledger = folder, ledger
        self._base = base if isinstance(base, Base) else None
        self._voices: dict[tuple[Use, ...], Voice] = {}
        self._spoken: dict[str, bool] = {}  # languages

    def hear(self, voice: Voice) -> None:
        """Let nights teach a voice."""
        self._voices = {**self._voices, voice.stack: voice}  # a new one: others may be reading the old one

    def waiting(self, held: Sequence[Record]) -> list[Record]:
        """Of what holds now, the habits that a voice has not learnt yet and could."""
        tasks = [task for task in self._tasks(held) if not task.done]
        found = {r.id: r for task in tasks for r in task.habits.values() if r.id not in task.trained}
        return [found[number] for number in sorted(found)]

    def lessons(self, held: Sequence[Record]) -> Iterator[tuple[Slot, HabitLesson]]:
        """What is to be taught, and in which slot."""
        for task in self._tasks(held):
            if self._base is not None and not task.done:
                yield task.slot, HabitLesson(self._base, task.habits, task.voice)

    def plugin(self, user: str, voice: Voice) -> Plugin | None:
        """What has learnt a user's manner on top of a voice; None if nothing has, or he wants something else since."""
        found = self._mounted(user, voice)
        return found[0] if found is not None else None

    def restyled(self, text: str, user: str, voice: Voice) -> str:
        """A text with the form of address and sign-off that the voice has learnt, by rule, and at its full length."""
        found = self._mounted(user, voice)
        return replace(found[1], length="").restyled(text) if found is not None else text

    def _mounted(self, user: str, voice: Voice) -> tuple[Plugin, Manner] | None:
        """The plugin in use and the manner that it has proved to keep."""
        if not user or self._base is None:
            return None
        try:
            key, _ = voice.resolved(self._base)
        except PluginError:
            return None
        mounted = manner_slot(self._folder, self._base.fingerprint, user, key).mounted()
        if mounted is None:
            return None
        plugin, registry = mounted
        habits = self._habits(user)
        if not set(registry.trained) <= {record.id for record in habits.values()}:
            return None
        return plugin, manner_of(record for record in habits.values() if record.id in registry.records)

    def _habits(self, user: str) -> dict[str, Record]:
        """Those that hold now, by the part of the manner."""
        keys = habit_keys(user)
        found = self._ledger.find(f"user = ? AND key IN ({', '.join('?' * len(keys))})", (user, *keys))
        return habits_of([record for record in found if record.live], user)

    def _tasks(self, held: Sequence[Record]) -> Iterator[_Task]:
        if self._base is None:
            return
        voices = list(self._resolved(self._base))
        for user, habits in habits_by_user(held).items():
            for key, voice in voices:
                if taught := self._taught(self._base, habits, voice):
                    yield _Task(manner_slot(self._folder, self._base.fingerprint, user, key), voice, taught)

    def _resolved(self, base: Base) -> Iterator[tuple[str, Voice]]:
        """The voices that answer users, with their keys; the bare base's where none was heard."""
        for voice in tuple(self._voices.values()) or (Voice(),):
            try:
                yield voice.resolved(base)
            except LoragentError as error:
                warnings.warn(f"an agent's voice learns nothing: {error}", stacklevel=2)

    def _taught(self, base: Base, habits: Mapping[str, Record], voice: Voice) -> dict[str, Record]:
        """The habits that a voice can learn; a language that the base doesn't speak would be babble."""
        manner = manner_of(habits.values())
        parts = voice.shown(manner)
        if "language" in parts and manner.language not in self._spoken:
            self._spoken[manner.language] = speaks(base, manner.language)
        return {p: r for p, r in habits.items() if p in parts and (p != "language" or self._spoken[manner.language])}
