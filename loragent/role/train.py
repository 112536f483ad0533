"""From role data or a long prompt to a published role plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import Curriculum
from ..learning import DialogueCurriculum, Lesson, Report, learn
from ..plugin import Manifest
from ..training import Example, Step, TrainSettings, read_examples
from .distil import PromptCurriculum
from .make import role_folder
from .spec import RoleSpec


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

    def lesson() -> Lesson:
        chosen, examples = spec.settings(settings), read_examples(spec.train_file)
        return Lesson(
            manifest=Manifest(name=spec.name, kind=spec.kind),
            shelf=spec.shelf,
            source=spec.train_file,
            curriculum=_curriculum(base, spec, chosen, examples),
            settings=chosen,
            held=read_examples(spec.eval_file),
        )

    return learn(base, lesson, spec.folder, resume=resume, force=force, on_step=on_step)


def _curriculum(base: Base, spec: RoleSpec, settings: TrainSettings, examples: Sequence[Example]) -> Curriculum:
    if examples[0].raw.get("distilled"):
        return PromptCurriculum(base, spec.prompt, [e.messages for e in examples])
    most, context = settings.max_tokens, base.context_length
    return DialogueCurriculum(spec.train_file, examples, base.template, max_tokens=most, context=context)
