"""How the command line talks: results on stdout, progress on stderr, one clear line for an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..learning import Scores
from ..training import Step

out = Console(highlight=False)  # rich honours NO_COLOR and drops colour off a terminal
err = Console(stderr=True, highlight=False)

Json = typer.Option(False, "--json", help="Machine-readable output.")


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; the first column is text, the others are numbers."""
    grid = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        grid.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    out.print(grid)


@contextmanager
def training_bar() -> Iterator[Callable[[Step], None]]:
    """A bar with epoch, loss and time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=False) as bar:
        task = bar.add_task("preparing", total=None, note="")

        def show(step: Step) -> None:
            minutes, seconds = divmod(int(step.seconds_left), 60)
            note = f"loss {step.loss:.3f}  {minutes}:{seconds:02d} left"
            bar.update(task, description=f"epoch {step.epoch}", total=step.steps, completed=step.step, note=note)

        yield show


def scores_table(title: str, scores: Sequence[Scores]) -> None:
    """Conditions side by side."""
    columns = ["", "action", "reply match", "call exact", "nll/token", "prompt tokens", "first token ms", "turns"]
    rows = [
        [
            s.condition,
            share(s.action),
            share(s.reply_match),
            share(s.call_exact),
            f"{s.nll:.3f}",
            f"{s.prompt_tokens:.0f}",
            f"{s.first_token_ms:.0f}",
            str(s.turns),
        ]
        for s in scores
    ]
    if all(s.action is None for s in scores):
        columns.pop(1)
        rows = [[row[0], *row[2:]] for row in rows]
    table(title, columns, rows)


def share(value: float | None) -> str:
    """A rate for a table."""
    return "-" if value is None else f"{value:.2f}"


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Without the samples, which are for reading."""
    return {k: v for k, v in value.items() if k != "samples"}
