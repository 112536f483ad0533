"""``loragent bench``: the numbers in the README, each printed by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .bench_role import bench_role
from .engine.table import bench_engine
from .memory import Setup, bench_memory
from .tools import ToolTests, bench_tools

app = typer.Typer(no_args_is_help=True)


@app.command("role")
def role(
    data: Annotated[Path, typer.Option(help="The STAR folder (small_train.jsonl, small_test.jsonl, roles.json).")],
    out: Annotated[Path, typer.Option(help="Where results, plugins and plots are kept.")] = Path("runs/bench-role"),
    groups: Annotated[str | None, typer.Option(help="Comma-separated; by default the six of the small files.")] = None,
    curve: Annotated[str | None, typer.Option(help="Also train on 20,70,200,all dialogues of these groups.")] = None,
    held_out: Annotated[
        bool, typer.Option(help="Score on train rows that small_train leaves out, for tuning.")
    ] = False,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A training setting, for instance epochs=4.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Role plugins on STAR against the long and the short prompt."""
    bench_role(
        data,
        out,
        groups.split(",") if groups else None,
        curve.split(",") if curve else [],
        held_out=held_out,
        settings=dict(pair.split("=", 1) for pair in setting or []),
        as_json=as_json,
    )


@app.command("engine")
def engine(
    rounds: Annotated[int, typer.Option(min=1, help="Times that each pair is measured, in turn.")] = 3,
    only: Annotated[str | None, typer.Option(help="Comma-separated numbers of rows, for instance 1a,3.")] = None,
    gguf: Annotated[Path | None, typer.Option(help="Also against llama.cpp on this file (llama-cpp-python).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """The engine against stock PEFT, transformers and llama.cpp, and against itself."""
    bench_engine(rounds=rounds, only=only.split(",") if only else None, gguf=gguf, as_json=as_json)


@app.command("tools")
def tools(
    data: Annotated[Path, typer.Option(help="The folder with snips_tools, seal_tools and bfcl.")],
    out: Annotated[Path, typer.Option(help="Where results and plugins are kept.")] = Path("runs/bench-tools"),
    only: Annotated[str, typer.Option(help="Which parts.")] = "cost,valid,snips,seal,bfcl",
    rows: Annotated[int | None, typer.Option(min=1, help="Only the first rows of each test file.")] = None,
    bare_rows: Annotated[
        int | None, typer.Option(min=1, help="Of those, so many for the bare base, which takes longer than all else.")
    ] = None,
    calling: Annotated[Path, typer.Option(help="The plugin that reads schemas.")] = Path("tools/calling"),
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Calls on Snips, Seal-Tools and BFCL, what the grammar costs, and whether all that comes out is valid."""
    bench_tools(ToolTests(data, out, rows, bare_rows, calling), only.split(","), as_json=as_json)


@app.command("memory")
def memory(
    out: Annotated[Path, typer.Option(help="Where the memories are kept.")] = Path("runs/bench-memory"),
    only: Annotated[
        str, typer.Option(help="Which parts: gate, reading, habits, nights, naive, authors, documents.")
    ] = "gate,nights",
    sessions: Annotated[int, typer.Option(min=1, help="Each with a night behind it.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the invented world.")] = 1,
    facts: Annotated[int, typer.Option(min=1, help="That are told in a session.")] = 25,
    data: Annotated[Path | None, typer.Option(help="The folder bfcl_memory, for the part documents.")] = None,
    authors: Annotated[Path | None, typer.Option(help="The folder tofu_memory, for the part authors.")] = None,
    texts: Annotated[
        Path | None, typer.Option(help="General texts (handbook_corpus/test.jsonl), for what a plugin does to them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """What is known told from what isn't, and what is recalled of an invented world after some nights."""
    bench_memory(Setup(out, sessions, seed, facts, texts, data, authors), only.split(","), as_json=as_json)
