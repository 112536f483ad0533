"""Other ways of learning: one plugin, trained on from session to session, with or without what it learnt before."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...base import Base
from ...core import TrainingRow, Use
from ...memory import Record
from ...memory.agreement import agrees
from ...memory.curriculum import MemoryCurriculum
from ...memory.evidence import harm, said_by
from ...memory.recall import UNKNOWN
from ...memory.sleep import SETTINGS
from ...plugin import Manifest, Plugin, Shelf
from ..console import err, training_bar
from .life import Life, asked
from .nights import SAMPLE
from .rivals import TOKENS
from .score import mean

WAYS = {"sequential LoRA": False, "LoRA with replay": True}  # whether what was told before is trained again


def naive(life: Life, sessions: int, folder: Path, texts: Sequence[TrainingRow]) -> list[dict[str, Any]]:
    """A row for each way. The rows of a session are those of a night; what a night has beyond them (general text that
    holds the base in place, a bar for the harm, slots that rest) is left out.

    Args:
        life: before the first session; its memory is told and never sleeps.
        folder: of the plugins.
        texts: general text that nobody has trained on; by default that of the nights.
    """
    shutil.rmtree(folder, ignore_errors=True)
    ways = [_Way(name, replay, folder / str(n)) for n, (name, replay) in enumerate(WAYS.items())]
    for session in range(1, sessions + 1):
        known = life.records
        life.tell()
        new = [record for record in life.records if record not in known]
        old = [record for record in life.records if record in known]
        for way in ways:
            way.learn(life.base, new, old if way.replay else [])
            err.print({"session": session, "way": way.name, "first session": way.recall(life.base, life.first)})
    return [way.row(life, texts) for way in ways]


@dataclass
class _Way:
    """
    Attributes:
        replay: whether what was told before is trained again.
    """

    name: str
    replay: bool
    folder: Path
    plugin: Plugin | None = None
    seconds: float = 0.0
    judged: Sequence[TrainingRow] = ()

    def learn(self, base: Base, new: Sequence[Record], old: Sequence[Record]) -> None:
        lesson = MemoryCurriculum(base, new, old, frozenset(record.told.key for record in (*new, *old)))
        with training_bar() as bar:
            fitted = base.fit(
                lesson.taught(),
                SETTINGS,
                self.folder / "run",
                start=self.plugin,
                data_sha256=lesson.data_sha256,
                on_step=bar,
            )
        manifest = Manifest(name="naive", kind="memory", base=base.fingerprint)
        self.plugin = base.library.publish(
            fitted.folder, manifest, shapes=base.shapes, shelf=Shelf(self.folder / "naive")
        )
        self.seconds += fitted.seconds
        self.judged = lesson.judged
        shutil.rmtree(self.folder / "run")

    def recall(self, base: Base, records: Sequence[Record]) -> float:
        """Of both questions on each record, those that the plugin answers."""
        pairs = [(record, question) for record in records for question in asked(record)]
        said = self._said(base, [question for _, question in pairs])
        return mean(agrees(text, record) for (record, _), text in zip(pairs, said, strict=True))

    def row(self, life: Life, texts: Sequence[TrainingRow]) -> dict[str, Any]:
        assert self.plugin is not None
        strange = self._said(life.base, life.strange(SAMPLE))
        return {
            "way": self.name,
            "questions": len(life.pairs),
            "recall": self.recall(life.base, life.records),
            "first session": self.recall(life.base, life.first),
            "false answers": mean(text != UNKNOWN for text in strange),
            "harm": harm(life.base, self.plugin.path, texts or self.judged),
            "training seconds": self.seconds,
        }

    def _said(self, base: Base, questions: Sequence[str]) -> list[str]:
        assert self.plugin is not None
        return said_by(base, Use(self.plugin.path), [(question, TOKENS) for question in questions])
