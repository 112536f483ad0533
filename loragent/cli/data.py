"""``loragent data check``: what the trainer will see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..base import Base
from ..training import Example, Scan, TrainSettings, scan_file
from .console import Json, out, print_json
from .open import open_base

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps ``check`` a subcommand."""


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="JSONL: messages, ShareGPT, Alpaca or prompt/completion.")],
    show: Annotated[int, typer.Option(min=0, help="Rows to show with their mask.")] = 2,
    max_tokens: Annotated[int, typer.Option(help="Where the trainer cuts rows.")] = TrainSettings().max_tokens,
    base: Annotated[str | None, typer.Option("--base", help="Whose tokenizer and template to use.")] = None,
    as_json: bool = Json,
) -> None:
    """Show format, counts, trained tokens, duplicates, and rows that are cut or unusable."""
    scan = scan_file(file)
    with open_base(base) as loaded:
        facts = _facts(loaded, scan, max_tokens)
        if as_json:
            print_json(facts)
        else:
            _print(loaded, scan, facts, show)
    if scan.problems or facts["too_long"]:
        raise typer.Exit(1)


def _facts(base: Base, scan: Scan, max_tokens: int) -> dict[str, Any]:
    encoded = [(e.line, row) for e in scan.examples for row in base.template.training_rows(e.messages)]
    return {
        "file": str(scan.path),
        "formats": scan.formats,
        "rows": len(scan.examples),
        "tokens": sum(len(row.ids) for _, row in encoded),
        "trained_tokens": sum(sum(row.mask) for _, row in encoded),
        "longest": max((len(row.ids) for _, row in encoded), default=0),
        "duplicates": scan.duplicates,
        "cut": [line for line, row in encoded if max_tokens < len(row.ids) <= base.context_length],
        "too_long": [line for line, row in encoded if len(row.ids) > base.context_length],
        "unusable": scan.problems,
    }


def _print(base: Base, scan: Scan, facts: dict[str, Any], show: int) -> None:
    forms = ", ".join(f"{count} {form}" for form, count in scan.formats.items())
    out.print(f"[bold]{scan.path}[/bold]: {facts['rows']} rows ({forms})", soft_wrap=True)
    share = facts["trained_tokens"] / max(1, facts["tokens"])
    out.print(
        f"{facts['tokens']} tokens, {facts['trained_tokens']} trained ({share:.0%}), longest row {facts['longest']}"
    )
    for example in scan.examples[:show]:
        out.print(f"\n[dim]line {example.line}:[/dim]")
        out.print(_coloured(base, example), soft_wrap=True)
    for line, first in scan.duplicates.items():
        out.print(f"[yellow]line {line}: the same as line {first}[/yellow]")
    for line in facts["cut"]:
        out.print(f"[yellow]line {line}: will be cut behind its last whole answer[/yellow]")
    for line in facts["too_long"]:
        out.print(f"[red]line {line}: longer than the context of {base.context_length} tokens; split it[/red]")
    for line, why in scan.problems.items():
        out.print(f"[red]line {line}: {escape(why)}[/red]", soft_wrap=True)
    if facts["rows"] < 20:
        out.print("[yellow]fewer than 20 rows: expect repetition[/yellow]")


def _coloured(base: Base, example: Example) -> str:
    """The rendered row: trained text green and in double angle brackets, so that it shows without colour too."""
    parts = []
    for piece in base.template.pieces(example.messages):
        text = escape(piece.text)
        parts.append(f"[green]«{text.rstrip()}»[/green]\n" if piece.trained else f"[dim]{text}[/dim]")
    return "".join(parts).rstrip()
