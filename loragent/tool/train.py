"""From examples of a set of tools to a plugin that calls them without reading their schemas."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import DataError, ToolSchema
from ..learning import DialogueCurriculum, Lesson, Report, learn
from ..plugin import Manifest
from ..training import Example, Step, TrainSettings, read_examples
from .catalogue import and_without, catalogue_rows, entries_of, read_catalogue
from .expand import expand
from .overheard import overheard
from .spec import Toolset, load_toolset, read_schemas

SEED = 13  # which rows are overheard, where there are more than the set asks for


def train_tools(
    folder: str | Path,
    *,
    base: Base,
    data: Sequence[str | Path] = (),
    resume: bool = False,
    force: bool = False,
    settings: Mapping[str, Any] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Report:
    """Train a tool plugin, compare it with the base under the same grammar, and publish it if it is better.

    Args:
        folder: with ``toolset.toml``, the tools, ``examples.jsonl`` and ``eval.jsonl``; see :mod:`loragent.tool.spec`.
        data: further conversations to train on (JSONL); those with ``tools`` of their own are told of them.
        resume: go on with a run that was stopped.
        force: publish even if the gate says no.
        settings: fields of ``TrainSettings`` over those of ``toolset.toml``.

    Raises:
        ToolError, DataError, TrainingError: naming the file, line or field, and the way out.
    """
    toolset = load_toolset(folder)

    def lesson() -> Lesson:
        chosen = toolset.settings(settings)
        return Lesson(
            manifest=Manifest(name=toolset.name, kind="tool", tools={t.name: t.digest for t in toolset.schemas}),
            shelf=toolset.shelf,
            source=toolset.examples_file,
            curriculum=_curriculum(base, toolset, chosen, tool_rows(toolset, data)),
            settings=chosen,
            held=read_examples(toolset.eval_file),
            tools=toolset.schemas,
        )

    return learn(base, lesson, toolset.folder, resume=resume, force=force, on_step=on_step)


def tool_rows(toolset: Toolset, data: Sequence[str | Path] = ()) -> list[Example]:
    """All rows that a plugin of this set is trained on: its own examples and catalogue, expanded, what it overhears of
    the roles that it serves, and further data.

    A plugin that reads schemas learns from data without tools too, where ``tools.json`` beside it has their schemas:
    their requests come in conversations like the catalogue's.

    Raises:
        DataError: naming the file and line.
    """
    rows = [row for path in data for row in _further(toolset, Path(path))]
    if toolset.catalogue_file.exists():
        rows = and_without([*catalogue_rows(read_catalogue(toolset.catalogue_file)), *rows])
    if toolset.examples_file.exists() or not rows:
        rows += expand(toolset.examples_file, toolset.schemas, toolset.values, toolset.copies)
    for path in toolset.dialogue_files:
        heard = overheard(read_examples(path), toolset.schemas)
        most = toolset.overheard or len(heard)
        rows += random.Random(SEED).sample(heard, most) if most < len(heard) else heard
    if not rows:
        raise DataError(toolset.examples_file, "gives no rows", "write some examples")
    return rows


def _further(toolset: Toolset, path: Path) -> list[Example]:
    rows = read_examples(path)
    beside = path.with_name("tools.json")
    if toolset.schemas or not beside.is_file():
        return rows
    bare = [row for row in rows if not row.tools]
    return [row for row in rows if row.tools] + catalogue_rows(entries_of(bare, read_schemas(beside)))


def _curriculum(base: Base, toolset: Toolset, settings: TrainSettings, rows: Sequence[Example]) -> DialogueCurriculum:
    def told(example: Example) -> Sequence[ToolSchema]:
        return [tool for tool in example.tools if tool not in toolset.schemas]

    most, context = settings.max_tokens, base.context_length
    return DialogueCurriculum(toolset.examples_file, rows, base.template, max_tokens=most, context=context, told=told)
