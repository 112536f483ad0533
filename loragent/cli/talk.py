"""``loragent demo``, ``chat`` and ``run``."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..agent import Agent, Session
from ..core import LoragentError, Reply
from .console import Json, err, out, print_json
from .open import BaseOption, open_agent, open_base, open_house, open_memory

DEMOS, FIRST = Path("demos"), "harbour_hotel"
MemoryOption = Annotated[Path | None, typer.Option("--memory", help="The folder of a memory that is asked first.")]
UserOption = Annotated[str, typer.Option("--user", help="Who is speaking, as the memory knows him.")]


def demo(context: typer.Context) -> None:
    """Three agents with trained roles hold a session on one base; ``demo second_day``: a concierge that remembers."""
    named = bool(context.args) and not context.args[0].startswith("-")
    path = DEMOS / f"{context.args[0] if named else FIRST}.py"
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in DEMOS.glob("*.py")))
        raise LoragentError(f"there is no {path} here", there or "run it in a clone of the repository")
    sys.argv = [str(path), *context.args[named:]]
    runpy.run_path(str(path), run_name="__main__")


def run(
    agent: Annotated[str, typer.Argument(help="A role folder, a role under ./roles, or a plugin.")],
    message: str,
    base: BaseOption = None,
    memory: MemoryOption = None,
    user: UserOption = "",
    as_json: bool = Json,
) -> None:
    """Ask an agent once."""
    with open_base(base) as loaded, open_memory(memory, loaded) as held:
        reply = open_agent(loaded, agent, held).run(message, user=user)
    if as_json:
        print_json(asdict(reply) | {"tool_calls": [call.model_dump() for call in reply.tool_calls]})
    else:
        out.print(reply.raw, markup=False, soft_wrap=True)
        err.print(_facts(reply), style="dim")


def chat(
    agent: Annotated[
        str | None, typer.Argument(help="A role or a plugin; by default all of ./roles in one session.")
    ] = None,
    base: BaseOption = None,
    memory: MemoryOption = None,
    user: UserOption = "",
) -> None:
    """Talk to an agent, or to a house of them; each reply shows its stack, tokens and milliseconds.

    An empty line or Ctrl-D ends it.
    """
    with open_base(base) as loaded, open_memory(memory, loaded) as held:
        answer = (
            _one(open_agent(loaded, agent, held), user) if agent else _house(Session(open_house(loaded, held)), user)
        )
        while True:
            try:
                text = out.input("[bold]you>[/bold] ")
            except EOFError:
                return
            if not text.strip():
                return
            answer(text)


def _one(agent: Agent, user: str) -> Callable[[str], None]:
    """Answers are shown as they are generated."""

    def answer(text: str) -> None:
        for item in agent.stream(text, user=user):
            if isinstance(item, Reply):
                out.print(" ".join(call.to_json() for call in item.tool_calls), markup=False)
                out.print(_facts(item), style="dim", markup=False)
            else:
                out.print(item, end="", markup=False, soft_wrap=True)

    return answer


def _house(session: Session, user: str) -> Callable[[str], None]:
    """Who speaks and who hands over is shown."""

    def answer(text: str) -> None:
        for entry in session.run(text, user=user).transcript:
            said = f"(passes on to {entry.handed_to})" if entry.handed_to else entry.reply.text or entry.reply.raw
            out.print(f"{entry.agent}> {said}", markup=False, soft_wrap=True)
            out.print(_facts(entry.reply), style="dim", markup=False)

    return answer


def _facts(reply: Reply) -> str:
    usage = reply.usage
    stack = " + ".join(map(str, reply.stack)) or "bare base"
    known = "".join(f", remembered ({recall.source}, {recall.confidence:.2f})" for recall in reply.recalls)
    noted = f", noted {'; '.join(reply.noted)}" if reply.noted else ""
    return (
        f"{reply.agent} ({stack}): {usage.prompt_tokens} tokens in, {usage.completion_tokens} out, "
        f"first after {usage.first_token_ms:.0f} ms, all after {usage.total_ms:.0f} ms{known}{noted}"
    )
