"""``loragent eval``: what a plugin in use reaches on held-out dialogues, beside what it replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..core import ToolSchema, Use
from ..learning import Condition, Scores, evaluate
from ..plugin import MANIFEST, Shelf
from ..role import load_role
from ..tool import load_toolset
from ..training import Example, read_examples
from .console import Json, err, plain, print_json, scores_table
from .open import BaseOption, open_base, role_folder, tool_folder

app = typer.Typer(no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(help="Dialogues to score on; by default the folder's eval.jsonl.")]
Rows = Annotated[int | None, typer.Option(min=1, help="Only the first rows.")]
Record = Annotated[
    bool, typer.Option(help="Write the scores into plugin.json of the version in use, after eval.jsonl has changed.")
]


@app.command("role")
def eval_role_command(
    folder: Annotated[str, typer.Argument(help="A role folder, or a role's name under ./roles.")],
    data: Data = None,
    rows: Rows = None,
    record: Record = False,
    base: BaseOption = None,
    as_json: bool = Json,
) -> None:
    """Compare a role's plugin with no prompt, the short prompt and the long prompt on the same rows."""
    spec = load_role(role_folder(folder))
    held = _held(spec.eval_file, data, rows, record)
    prompts = [Condition("short prompt", system=spec.persona), Condition("long prompt", system=spec.prompt)]
    conditions = [_plugin(spec.shelf), Condition("no prompt"), *(prompt for prompt in prompts if prompt.system)]
    scores = _scores(held, conditions, base)
    if record:
        _record(spec.shelf, *scores[:2])
    _show(f"{spec.name}: {len(held)} held-out dialogues", scores, as_json)


@app.command("tool")
def eval_tool_command(
    folder: Annotated[str, typer.Argument(help="A folder with a set of tools, or its name under ./tools.")],
    data: Data = None,
    rows: Rows = None,
    record: Record = False,
    base: BaseOption = None,
    as_json: bool = Json,
) -> None:
    """Compare a toolset's plugin with the base that reads the schemas, on the same rows, under the same grammar."""
    spec = load_toolset(tool_folder(folder))
    held = _held(spec.eval_file, data, rows, record)
    conditions = [_plugin(spec.shelf, spec.schemas), Condition("schemas in the prompt", tools=spec.schemas)]
    scores = _scores(held, conditions, base)
    if record:
        _record(spec.shelf, *scores)
    _show(f"{spec.name}: {len(held)} held-out dialogues", scores, as_json)


def _held(file: Path, data: Path | None, rows: int | None, record: bool) -> list[Example]:
    if record and (data or rows):
        raise typer.BadParameter("what is recorded are the scores on all rows of eval.jsonl", param_hint="--record")
    return read_examples(data or file)[:rows]


def _plugin(shelf: Shelf, tools: tuple[ToolSchema, ...] = ()) -> Condition:
    return Condition("plugin", (Use(shelf.get().path),), tools=tools)


def _scores(held: Sequence[Example], conditions: Sequence[Condition], base: str | None) -> list[Scores]:
    scores = []
    with open_base(base) as loaded:
        for condition in conditions:
            with err.status(f"scoring: {condition.name} ..."):
                scores.append(evaluate(loaded, held, condition))
    return scores


def _record(shelf: Shelf, after: Scores, before: Scores) -> None:
    plugin = shelf.note_scores(before.numbers(), after.numbers())
    err.print(f"recorded in {plugin.path / MANIFEST}", markup=False, soft_wrap=True)


def _show(title: str, scores: Sequence[Scores], as_json: bool) -> None:
    if as_json:
        print_json([plain(asdict(s)) for s in scores])
    else:
        scores_table(title, scores)
