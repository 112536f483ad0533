"""The composition root of the command line."""

from __future__ import annotations

import os
import sys

import typer

from ..core import LoragentError
from . import bench, data, doctor, evaluate, mcp, memories, plugins, talk, train
from .console import err

app = typer.Typer(
    name="loragent",
    help="Agents whose role, tools and memory are LoRA plugins on one shared base model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("demo", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(talk.demo)
app.command("chat")(talk.chat)
app.command("run")(talk.run)
app.add_typer(train.train_app, name="train", help="Train, evaluate, publish.")
app.add_typer(evaluate.app, name="eval", help="Score a plugin against prompts.")
app.add_typer(data.app, name="data", help="Look at training data as the trainer sees it.")
app.add_typer(plugins.app, name="plugins", help="Plugins on disk: list, show, compare, roll back, move.")
app.add_typer(memories.app, name="memory", help="What a memory holds, and how it came to that.")
app.add_typer(bench.app, name="bench", help="The numbers in the README.")
app.command("mcp")(mcp.serve)
app.command("doctor")(doctor.doctor)

INTERRUPTED = 130  # typer's exit code for Ctrl-C


def main() -> None:
    """Run; an error raised on purpose is one line on stderr and exit code 1."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except LoragentError as error:
        err.print(f"[red]error:[/red] {type(error).__name__}: ", end="")
        err.print(str(error), markup=False, soft_wrap=True)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            err.print("stopped; nothing half-written. A training goes on with --resume.")
            sys.exit(1)
        raise
