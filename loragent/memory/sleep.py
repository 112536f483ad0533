"""A night: what was told becomes a plugin, fact by fact, as far as it can prove that it knows it.

records -> rows -> a plugin on the top layers -> each fact asked in words that were never trained -> what passes is
published, the rest stays with the store and is tried again -> gate over the whole: what was known before, and what the
base says without any memory.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from ..base import Base
from ..core import RowScore, TrainingRow, Use
from ..learning import starting_point
from ..plugin import Manifest, Plugin, soften
from ..training import Fitted, Step, TrainSettings, discard, only_run
from .evidence import harm
from .fact import Record
from .slot import Registry, Slot

SETTINGS = TrainSettings(
    rank=16, alpha=32, layers=8, learning_rate=2e-3, batch_rows=4, validation=0, start="none", epochs=1, known=0.03
)
LOST = 0.03  # of what the version in use knew, that a new one may not know, or else one record: the store has it
HARM = 0.15  # by which the plugin may raise the perplexity of general text
QUIET = 0.65  # of that, of a plugin that is asked as loud as it was trained: pages of others bear a third less
AIM = 0.9  # of what is borne, where it has to be made softer
FORGOTTEN = "some of it was forgotten meanwhile"
LEAST_LOUD = 0.5  # of what was trained; what is softer knows too little


@dataclass(frozen=True, slots=True)
class Night:
    """What came of a night.

    Attributes:
        learned: ids of the records that the plugins answer for now and did not before.
        kept_in_store: ids of those that were tried and did not pass, or that nothing was published of.
        version: names of the versions in use.
        seconds: of all of it.
        harm: by how much the perplexity of general text rises with the plugin mounted.
        retention: of what was known before, the share that is known still.
        reasons: why a version was not published.
    """

    learned: tuple[int, ...] = ()
    kept_in_store: tuple[int, ...] = ()
    version: str = ""
    seconds: float = 0.0
    harm: float = 0.0
    retention: float = 1.0
    reasons: tuple[str, ...] = field(default=())


Publishing = Callable[[Sequence[Record]], AbstractContextManager[bool]]


class Lesson(Protocol):
    """What a night teaches.

    Attributes:
        new, old: records that the plugin doesn't hold yet, and those that it does.
        judged: rows that are never trained on, to tell by what the plugin does to the base.
        beneath: the plugins that it is mounted on.
        asked: whether it is mounted for nothing but questions that it answers for; then it is asked as loud as it was
            trained.
        settings: fields of ``TrainSettings`` that it wants otherwise than other nights.
    """

    @property
    def new(self) -> Sequence[Record]: ...

    @property
    def old(self) -> Sequence[Record]: ...

    @property
    def judged(self) -> Sequence[TrainingRow]: ...

    @property
    def beneath(self) -> Sequence[Use]: ...

    @property
    def asked(self) -> bool: ...

    @property
    def settings(self) -> Mapping[str, float]: ...

    @property
    def data_sha256(self) -> str:
        """Digest of what is taught."""
        ...

    def rows(self) -> list[TrainingRow]:
        """What is trained on."""
        ...

    def alone(self) -> Sequence[RowScore]:
        """What is scored on the rows to judge by without the plugin."""
        ...

    def known(self, plugin: Use) -> frozenset[int]:
        """Ids of the records that a plugin knows, asked in ways that are never trained."""
        ...

    def sure(self, plugin: Use, known: frozenset[int]) -> float:
        """The probability from which its answers are to be believed."""
        ...


def night(
    base: Base,
    slot: Slot,
    lesson: Lesson,
    workdir: Path,
    *,
    publishing: Publishing,
    settings: TrainSettings = SETTINGS,
    resume: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> Night:
    """Teach a slot's plugin a lesson, and publish what it proves to know.

    A plugin that holds some of it already is continued.

    Args:
        workdir: of the run; a night that was killed goes on from there with ``resume``.
        publishing: keeps whoever forgets waiting, and says whether all of the lesson is remembered still.

    Raises:
        TrainingError: the run can't be made.
    """
    began = time.perf_counter()
    plugin, old, records = slot.plugin, lesson.old, [*lesson.new, *lesson.old]
    with only_run(workdir, ".sleeping"):
        continued = plugin if old else None
        start = continued or starting_point(base, settings.start)
        rows, digest = lesson.rows(), lesson.data_sha256
        fit = partial(base.fit, resume=resume, on_step=on_step)
        loud = slot.registry().loud if continued is not None else 1.0
        fitted = fit(rows, settings, workdir, start=start, start_scale=loud, beneath=lesson.beneath, data_sha256=digest)
        harmed, loud = _softened(base, fitted.folder, lesson)
        use = Use(fitted.folder, scale=1 / loud if lesson.asked else 1.0)
        knows = lesson.known(use)
        retention = sum(record.id in knows for record in old) / len(old) if old else 1.0
        reasons = _reasons(len(old), retention, harmed, bool(knows))
        if not reasons:
            before = slot.registry().trained if continued is not None else ()
            trained = tuple(sorted({*before, *(record.id for record in records)}))
            Registry(tuple(sorted(knows)), trained, lesson.sure(use, knows), use.scale).write(fitted.folder)
            after = {"recall": len(knows) / len(records), "harm": harmed, "loud": loud, "retention": retention}
            manifest = _manifest(base, slot.name, start, fitted, digest, settings, after)
            published = _published(base, slot, fitted.folder, manifest, publishing(records))
            plugin = published or plugin
            if published is None:
                reasons = (FORGOTTEN,)
                shutil.rmtree(workdir, ignore_errors=True)
        discard(workdir)
    held = frozenset(slot.registry().records)
    return Night(
        learned=tuple(record.id for record in lesson.new if record.id in held and not reasons),
        kept_in_store=tuple(sorted(record.id for record in records if record.id not in held)),
        version=str(plugin) if plugin is not None else "",
        seconds=time.perf_counter() - began,
        harm=harmed,
        retention=retention,
        reasons=reasons,
    )


def _published(
    base: Base, slot: Slot, folder: Path, manifest: Manifest, publishing: AbstractContextManager[bool]
) -> Plugin | None:
    """The new version; None if some of what it was taught isn't remembered any more."""
    with publishing as remembered:
        if not remembered:
            return None
        return base.library.publish(folder, manifest, shapes=base.shapes, shelf=slot.shelf)


def _softened(base: Base, plugin: Path, lesson: Lesson) -> tuple[float, float]:
    """Make a plugin as loud as general text bears it, and no louder; the harm that is left, and how loud it is of what
    was trained. Softness costs a plugin nothing that is asked as loud as it was trained (docs/adr/0023).

    The divergence that an update causes grows with the square of its size, and facts are still known long after the
    rest has come to rest (docs/adr/0018).
    """
    judge = partial(harm, base, plugin, lesson.judged, lesson.alone(), lesson.beneath)
    found, loud = judge(), 1.0
    borne = HARM * (QUIET if lesson.asked else 1.0)
    while found > borne and loud > LEAST_LOUD:
        factor = max(LEAST_LOUD / loud, math.sqrt(AIM * borne / found))
        soften(plugin, factor)
        found, loud = judge(), loud * factor
    return found, loud


def _manifest(
    base: Base,
    name: str,
    start: Plugin | None,
    fitted: Fitted,
    digest: str,
    settings: TrainSettings,
    after: dict[str, float],
) -> Manifest:
    return Manifest(
        name=name,
        kind="memory",
        base=base.fingerprint,
        parents=(str(start),) if start is not None else (),
        data_sha256=digest,
        settings=settings.model_dump(),
        after=after,
        seconds=round(fitted.seconds, 1),
        tokens=fitted.tokens,
    )


def whole(nights: Sequence[Night]) -> Night:
    """What came of the nights of several slots, as one."""
    return Night(
        learned=tuple(dict.fromkeys(number for made in nights for number in made.learned)),
        kept_in_store=tuple(dict.fromkeys(number for made in nights for number in made.kept_in_store)),
        version=" ".join(made.version for made in nights if made.version),
        seconds=sum(made.seconds for made in nights),
        harm=max((made.harm for made in nights), default=0.0),
        retention=min((made.retention for made in nights), default=1.0),
        reasons=tuple(reason for made in nights for reason in made.reasons),
    )


def _reasons(old: int, retention: float, harm: float, anything: bool) -> tuple[str, ...]:
    found = []
    if round((1 - retention) * old) > max(1, int(LOST * old)):
        found.append(f"of what was known before only {retention:.2f} is known still")
    if harm > HARM:
        found.append(f"the perplexity of general text rises by {harm:.0%}")
    if not anything:
        found.append("no fact was learnt")
    return tuple(found)
