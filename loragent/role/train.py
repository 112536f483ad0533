"""From role data or a long prompt to a published plugin, with the evidence that it is one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import Curriculum, Use
from ..plugin import Manifest, Plugin
from ..training import Example, Fitted, Step, TrainSettings, discard, judge, only_run, plot_loss, read_examples
from .curriculum import DialogueCurriculum, PromptCurriculum
from .evaluate import Condition, Scores, evaluate
from .make import role_folder
from .spec import RoleSpec
from .starter import starting_point

FEW_ROWS = 20
SAMPLES = 6
NOISE = 0.03  # by which the nll of two runs on the same data may differ


@dataclass(frozen=True, slots=True)
class Report:
    """Evidence of a training run.

    Attributes:
        plugin: the version in use after the run; None if there is none.
        before, after: scores on the held-out dialogues without and with the new plugin, no prompt in either.
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


def train_role(
    folder: str | Path | None = None,
    *,
    base: Base,
    data: str | Path | None = None,
    prompt: str | Path | None = None,
    queries: str | Path | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    settings: Mapping[str, Any] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Report:
    """Train a role plugin, compare it with the base alone, and publish it if it is better.

    Args:
        folder: a role folder with ``role.toml``, ``train.jsonl`` and ``eval.jsonl``; or, to make one:
        data: dialogues in any known form; a tenth is held out as ``eval.jsonl``.
        prompt, queries: a long prompt (text file) and a list of user messages to distil it over.
        name, out: of the new role; ``out`` is ``roles/<name>`` by default.
        resume: go on with a run that was stopped.
        force: publish even if the gate says no.
        settings: fields of ``TrainSettings`` over those of ``role.toml``.

    Raises:
        RoleError, DataError, TrainingError: naming the file, line or field, and the way out.
    """
    spec = role_folder(base, folder, data, prompt, queries, name, out)
    workdir = spec.folder / ".run"
    with only_run(workdir, ".publishing"):  # until it is published, so that nobody else's run takes its place
        report = _train(spec, workdir, base, dict(settings or {}), resume=resume, force=force, on_step=on_step)
        discard(workdir)
    return report


def _train(
    spec: RoleSpec,
    workdir: Path,
    base: Base,
    settings: dict[str, Any],
    *,
    resume: bool,
    force: bool,
    on_step: Callable[[Step], None] | None,
) -> Report:
    chosen = spec.settings(settings)
    examples, held = read_examples(spec.train_file), read_examples(spec.eval_file)
    curriculum = _curriculum(base, spec, chosen, examples)
    rows, digest = curriculum.rows(), curriculum.data_sha256
    start = starting_point(base, chosen.start)
    fitted = base.fit(rows, chosen, workdir, start=start, data_sha256=digest, resume=resume, on_step=on_step)
    before = evaluate(base, held, Condition("no prompt"))
    after = evaluate(base, held, Condition("plugin", (Use(fitted.folder),)))
    samples = _samples(before, after)
    incumbent = spec.shelf.get() if spec.shelf.exists() else None
    standing = _standing(base, held, incumbent)
    verdict = judge(after.numbers(), before.numbers(), standing.numbers() if standing else None, str(incumbent))
    reproduced = standing is not None and _reproduces(incumbent, digest, after.nll / standing.nll)
    published = verdict.passed or force
    if published:
        manifest = Manifest(
            name=spec.name,
            kind=spec.kind,
            base=base.fingerprint,
            parents=(str(start),) if start is not None else (),
            data_sha256=digest,
            settings=chosen.model_dump() | {"epochs": chosen.passes(started=start is not None)},
            before=before.numbers(),
            after=after.numbers(),
            seconds=round(fitted.seconds, 1),
            tokens=fitted.tokens,
        )
        incumbent = _publish(base, spec, fitted, manifest, samples)
    if incumbent is not None:
        base.library.attach(spec.shelf.path)
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
        tuple(_warnings(spec, chosen, examples, curriculum.cut)),
    )


def _curriculum(base: Base, spec: RoleSpec, settings: TrainSettings, examples: Sequence[Example]) -> Curriculum:
    if examples[0].raw.get("distilled"):
        return PromptCurriculum(base, spec.prompt, [e.messages for e in examples])
    limits = {"max_tokens": settings.max_tokens, "context": base.context_length}
    return DialogueCurriculum(spec.train_file, examples, base.template, **limits)


def _warnings(spec: RoleSpec, settings: TrainSettings, examples: Sequence[Example], cut: Sequence[int]) -> list[str]:
    warnings = []
    if len(examples) < FEW_ROWS:
        warnings.append(f"{spec.train_file}: {len(examples)} rows are few; expect repetition below {FEW_ROWS}")
    if cut:
        warnings.append(f"{spec.train_file}: rows cut to {settings.max_tokens} tokens: lines {list(cut)}")
    return warnings


def _standing(base: Base, held: Sequence[Example], plugin: Plugin | None) -> Scores | None:
    """The incumbent's scores on the same rows; None without one, or with one of another base."""
    if plugin is None or plugin.manifest.base != base.fingerprint:
        return None
    return evaluate(base, held, Condition(str(plugin), (Use(plugin.path),)))


def _reproduces(plugin: Plugin | None, digest: str, ratio: float) -> bool:
    """The same data, and a likelihood within noise; defaults of how to train may have changed meanwhile."""
    return plugin is not None and plugin.manifest.data_sha256 == digest and ratio <= 1 + NOISE


def _publish(
    base: Base, spec: RoleSpec, fitted: Fitted, manifest: Manifest, samples: Sequence[dict[str, str]]
) -> Plugin:
    plot_loss(fitted.folder / "metrics.jsonl", fitted.folder / "loss.png")
    (fitted.folder / "samples.json").write_text(json.dumps(list(samples), indent=1, ensure_ascii=False) + "\n")
    return base.library.publish(fitted.folder, manifest, shapes=base.shapes, shelf=spec.shelf)


def _samples(before: Scores, after: Scores) -> tuple[dict[str, str], ...]:
    """Answers of both, spread over the held-out turns."""
    step = max(1, len(after.samples) // SAMPLES)
    pairs = list(zip(before.samples, after.samples, strict=True))[::step][:SAMPLES]
    return tuple(
        {"question": a.question, "reference": a.reference, "answer": a.answer, "base": b.answer} for b, a in pairs
    )
