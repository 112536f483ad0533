"""``loragent demo``, ``chat`` and ``run``."""

from __future__ import annotations

import runpy
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..core import LoragentError, Reply
from .console import Json, err, out, print_json
from .open import open_agent, open_base

DEMO = Path("demos/harbour_hotel.py")
BaseOption = Annotated[str | None, typer.Option("--base", help="A model folder; by default SmolLM2-135M-Instruct.")]


def demo(context: typer.Context) -> None:
    """Three agents with trained roles hold a session on one base."""
    if not DEMO.is_file():
        raise LoragentError(f"there is no {DEMO} here", "run it in a clone of the repository")
    sys.argv = [str(DEMO), *context.args]
    runpy.run_path(str(DEMO), run_name="__main__")


def run(
    agent: Annotated[str, typer.Argument(help="A role folder, a role under ./roles, or a plugin.")],
    message: str,
    base: BaseOption = None,
    as_json: bool = Json,
) -> None:
    """Ask an agent once."""
    with open_base(base) as loaded:
        reply = open_agent(loaded, agent).run(message)
    if as_json:
        print_json(asdict(reply))
    else:
        out.print(reply.raw, markup=False, soft_wrap=True)
        err.print(_facts(reply), style="dim")


def chat(
    agent: Annotated[str, typer.Argument(help="A role folder, a role under ./roles, or a plugin.")],
    base: BaseOption = None,
) -> None:
    """Talk to an agent; each reply shows its stack, tokens and milliseconds. An empty line or Ctrl-D ends it."""
    with open_base(base) as loaded:
        speaker = open_agent(loaded, agent)
        while True:
            try:
                text = out.input("[bold]you>[/bold] ")
            except EOFError:
                return
            if not text.strip():
                return
            for item in speaker.stream(text):
                if isinstance(item, Reply):
                    calls = " ".join(c.to_json() for c in item.tool_calls)
                    out.print(calls, markup=False)
                    out.print(_facts(item), style="dim")
                else:
                    out.print(item, end="", markup=False, soft_wrap=True)


def _facts(reply: Reply) -> str:
    usage = reply.usage
    stack = " + ".join(map(str, reply.stack)) or "bare base"
    return (
        f"{reply.agent} ({stack}): {usage.prompt_tokens} tokens in, {usage.completion_tokens} out, "
        f"first after {usage.first_token_ms:.0f} ms, all after {usage.total_ms:.0f} ms"
    )
