"""From rows to a published plugin, with the evidence that it is one; the same for every kind of plugin."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..base import Base
from ..core import Curriculum, ToolSchema, Use
from ..plugin import Manifest, Plugin, Shelf
from ..training import Example, Fitted, Step, TrainSettings, discard, judge, only_run, plot_loss
from .evaluate import Condition, Scores, evaluate
from .starter import starting_point

FEW_ROWS = 20
SAMPLES = 6
NOISE = 0.03  # by which the nll of two runs on the same data may differ


@dataclass(frozen=True, slots=True)
class Report:
    """Evidence of a training run.

    Attributes:
        plugin: the version in use after the run; None if there is none.
        before, after: scores on the held-out dialogues without and with the new plugin, no prompt in either but what
            tells of tools that are not learnt.
        samples: questions with the reference, the base's and the plugin's answer.
        published: whether the gate let the new plugin through.
        reasons: why not.
        reproduced: the run had the data of the version in use and met its score.
        seconds: of training alone.
        warnings: rows that were cut, too few rows.
    """

    plugin: Plugin | None
    before: Scores
    after: Scores
    samples: tuple[dict[str, str], ...]
    published: bool
    reasons: tuple[str, ...]
    seconds: float
    tokens: int
    reproduced: bool = False
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is to be learnt, and by what it is judged.

    Attributes:
        manifest: what is known of the plugin beforehand: its name, kind, and the tools that it learns.
        shelf: where it is published.
        source: the data file, for warnings; the run keeps its state beside it.
        curriculum: the training rows.
        settings: how it is trained.
        held: dialogues that are never trained on.
        tools: what answers to them may call.
    """

    manifest: Manifest
    shelf: Shelf
    source: Path
    curriculum: Curriculum
    settings: TrainSettings
    held: Sequence[Example]
    tools: tuple[ToolSchema, ...] = ()


def learn(
    base: Base,
    lesson: Callable[[], Lesson],
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> Report:
    """Train a plugin, compare it with the base alone and the version in use, and publish it if it is better.

    Args:
        lesson: read once nobody else can train there any more.
        folder: whose ``.run`` holds the state of the run.
        resume: go on with a run that was stopped.
        force: publish even if the gate says no.

    Raises:
        DataError, TrainingError: naming the file, line or field, and the way out.
    """
    workdir = folder / ".run"
    with only_run(workdir, ".publishing"):  # until it is published, so that nobody else's run takes its place
        report = _learn(base, lesson(), workdir, resume=resume, force=force, on_step=on_step)
        discard(workdir)
    return report


def _learn(
    base: Base,
    lesson: Lesson,
    workdir: Path,
    *,
    resume: bool,
    force: bool,
    on_step: Callable[[Step], None] | None,
) -> Report:
    settings, shelf = lesson.settings, lesson.shelf
    rows, digest = lesson.curriculum.rows(), lesson.curriculum.data_sha256
    start = starting_point(base, settings.start)
    fitted = base.fit(rows, settings, workdir, start=start, data_sha256=digest, resume=resume, on_step=on_step)
    lesson.manifest.write(fitted.folder)  # that it knows its tools
    before = evaluate(base, lesson.held, Condition("no prompt", tools=lesson.tools))
    after = evaluate(base, lesson.held, Condition("plugin", (Use(fitted.folder),), tools=lesson.tools))
    samples = _samples(before, after)
    incumbent = shelf.get() if shelf.exists() else None
    standing = _standing(base, lesson, incumbent)
    verdict = judge(after.numbers(), before.numbers(), standing.numbers() if standing else None, str(incumbent))
    reproduced = standing is not None and _reproduces(incumbent, digest, after.nll / standing.nll)
    published = verdict.passed or force
    if published:
        known = {
            "base": base.fingerprint,
            "parents": (str(start),) if start is not None else (),
            "data_sha256": digest,
            "settings": settings.model_dump() | {"epochs": settings.passes(started=start is not None)},
            "before": before.numbers(),
            "after": after.numbers(),
            "seconds": round(fitted.seconds, 1),
            "tokens": fitted.tokens,
        }
        incumbent = _publish(base, shelf, fitted, lesson.manifest.model_copy(update=known), samples)
    if incumbent is not None:
        base.library.attach(shelf.path)
    return Report(
        incumbent,
        before,
        after,
        samples,
        published,
        verdict.reasons,
        fitted.seconds,
        fitted.tokens,
        reproduced,
        tuple(_warnings(lesson, len(rows))),
    )


def _warnings(lesson: Lesson, rows: int) -> list[str]:
    warnings = []
    if rows < FEW_ROWS:
        warnings.append(f"{lesson.source}: {rows} rows are few; expect repetition below {FEW_ROWS}")
    if cut := lesson.curriculum.cut:
        warnings.append(f"{lesson.source}: rows cut to {lesson.settings.max_tokens} tokens: lines {list(cut)}")
    return warnings


def _standing(base: Base, lesson: Lesson, plugin: Plugin | None) -> Scores | None:
    """The incumbent's scores on the same rows; None without one, or with one of another base."""
    if plugin is None or plugin.manifest.base != base.fingerprint:
        return None
    return evaluate(base, lesson.held, Condition(str(plugin), (Use(plugin.path),), tools=lesson.tools))


def _reproduces(plugin: Plugin | None, digest: str, ratio: float) -> bool:
    """The same data, and a likelihood within noise; defaults of how to train may have changed meanwhile."""
    return plugin is not None and plugin.manifest.data_sha256 == digest and ratio <= 1 + NOISE


def _publish(base: Base, shelf: Shelf, fitted: Fitted, manifest: Manifest, samples: Sequence[dict[str, str]]) -> Plugin:
    plot_loss(fitted.folder / "metrics.jsonl", fitted.folder / "loss.png")
    (fitted.folder / "samples.json").write_text(json.dumps(list(samples), indent=1, ensure_ascii=False) + "\n")
    return base.library.publish(fitted.folder, manifest, shapes=base.shapes, shelf=shelf)


def _samples(before: Scores, after: Scores) -> tuple[dict[str, str], ...]:
    """Answers of both, spread over the held-out turns."""
    step = max(1, len(after.samples) // SAMPLES)
    pairs = list(zip(before.samples, after.samples, strict=True))[::step][:SAMPLES]
    return tuple(
        {"question": a.question, "reference": a.reference, "answer": a.answer, "base": b.answer} for b, a in pairs
    )
