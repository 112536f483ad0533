"""``loragent train``: from data to a published plugin."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..learning import Report
from ..role import train_role
from ..tool import train_tools
from .console import Json, err, out, plain, print_json, scores_table, training_bar
from .open import BaseOption, open_base, role_folder, tool_folder

train_app = typer.Typer(no_args_is_help=True)


@train_app.command("role")
def train_role_command(
    folder: Annotated[str | None, typer.Argument(help="A role folder, or a role's name under ./roles.")] = None,
    data: Annotated[Path | None, typer.Option(help="Dialogues (JSONL) to make a new role from.")] = None,
    prompt: Annotated[Path | None, typer.Option(help="A long prompt to distil, with --queries.")] = None,
    queries: Annotated[Path | None, typer.Option(help="User messages to distil the prompt over.")] = None,
    name: Annotated[str | None, typer.Option(help="The new role's name.")] = None,
    to: Annotated[Path | None, typer.Option("--out", help="The new role's folder; by default roles/NAME.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A training setting, for instance epochs=4.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a run that was stopped.")] = False,
    force: Annotated[bool, typer.Option(help="Publish even if the gate says no.")] = False,
    base: BaseOption = None,
    as_json: bool = Json,
) -> None:
    """Train a role plugin and publish it if it beats having none."""
    with open_base(base) as loaded, training_bar() as bar:
        report = train_role(
            role_folder(folder) if folder else None,
            base=loaded,
            data=data,
            prompt=prompt,
            queries=queries,
            name=name or (data.stem if data else None),
            out=to,
            resume=resume,
            force=force,
            settings=_settings(setting or []),
            on_step=bar,
        )
    _show(report, as_json)
    if not (report.published or report.reproduced):
        raise typer.Exit(1)


@train_app.command("tool")
def train_tool_command(
    folder: Annotated[str, typer.Argument(help="A folder with a set of tools, or its name under ./tools.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Further conversations (JSONL) to train on; more than one is fine.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A training setting, for instance epochs=4.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a run that was stopped.")] = False,
    force: Annotated[bool, typer.Option(help="Publish even if the gate says no.")] = False,
    base: BaseOption = None,
    as_json: bool = Json,
) -> None:
    """Train a plugin that calls a set of tools without reading their schemas."""
    with open_base(base) as loaded, training_bar() as bar:
        report = train_tools(
            tool_folder(folder),
            base=loaded,
            data=data or (),
            resume=resume,
            force=force,
            settings=_settings(setting or []),
            on_step=bar,
        )
    _show(report, as_json)
    if not (report.published or report.reproduced):
        raise typer.Exit(1)


def _settings(pairs: list[str]) -> dict[str, Any]:
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--set")
        values[key] = value
    return values


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        fields = asdict(report) | {"before": plain(asdict(report.before)), "after": plain(asdict(report.after))}
        print_json(fields | {"plugin": str(report.plugin) if report.plugin else None})
        return
    for warning in report.warnings:
        err.print(f"[yellow]warning:[/yellow] {warning}")
    scores_table("held-out dialogues, without any prompt", [report.before, report.after])
    for sample in report.samples[:3]:
        out.print()
        for who, key in (("user", "question"), ("reference", "reference"), ("base", "base"), ("plugin", "answer")):
            out.print(f"[bold]{who:<10}[/bold]{escape(sample[key][:200])}", soft_wrap=True)
    tail = f"{report.seconds:.0f} s of training, {report.tokens} tokens"
    if report.published:
        out.print(f"\npublished {report.plugin} ({tail})")
    elif report.reproduced:
        out.print(f"\nreproduces {report.plugin}, which stays in use ({tail})")
    else:
        out.print(f"\nnot published ({tail}): {'; '.join(report.reasons)}. In use: {report.plugin}")
