"""``loragent memory``: what a memory holds, and how it came to that."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..memory import Fact, Memory, Note, Record
from .console import Json, err, out, print_json, table, training_bar
from .open import BaseOption, open_agent, open_base

app = typer.Typer(no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="The memory's folder.")]
UserOption = Annotated[str, typer.Option("--user", help="Whose memory it is; by default everybody's.")]


@app.command("tell")
def tell(
    folder: Folder,
    what: Annotated[list[str], typer.Argument(help="Free text, or SUBJECT RELATION VALUE.")],
    source: Annotated[str, typer.Option(help="Who says so.")] = "",
    user: UserOption = "",
    note: Annotated[
        bool, typer.Option("--note", help="Keep the text as it is; no base reads facts out of it.")
    ] = False,
    base: BaseOption = None,
) -> None:
    """Remember a fact of three words or phrases, or a text with the facts that stand in it."""
    text = " ".join(what)
    fact = Fact(subject=what[0], relation=what[1], value=what[2]) if len(what) == 3 else Note(note=text)
    read = isinstance(fact, Note) and not note
    with open_base(base) if read else nullcontext() as loaded, Memory(folder, base=loaded) as memory:
        for record in memory.remember(text if read else fact, source=source, user=user):
            out.print(f"{record.id}  {record.text}", markup=False)


@app.command("ls")
def ls(folder: Folder, as_json: bool = Json) -> None:
    """List what holds now."""
    with Memory(folder) as memory:
        _records(memory.facts(), as_json)


@app.command("history")
def history(folder: Folder, subject: str, as_json: bool = Json) -> None:
    """List all that was ever told of a subject."""
    with Memory(folder) as memory:
        _records(memory.history(subject), as_json)


@app.command("log")
def log(folder: Folder, as_json: bool = Json) -> None:
    """Show the timeline: told, slept, forgotten; and check that nobody changed it."""
    with Memory(folder) as memory:
        episodes = memory.episodes()
        memory.verify()
    if as_json:
        print_json([asdict(episode) for episode in episodes])
        return
    table("", ["", "when", "what", ""], [[str(e.id), e.time[:19], e.kind, _in_short(e.content)] for e in episodes])


@app.command("ask")
def ask(folder: Folder, question: str, user: UserOption = "", base: BaseOption = None, as_json: bool = Json) -> None:
    """Answer a question from memory, and say who answered."""
    with open_base(base) as loaded, Memory(folder, base=loaded) as memory:
        recall = memory.ask(question, user=user)
    if as_json:
        print_json(asdict(recall))
        return
    out.print(recall.text, markup=False)
    who = recall.version or recall.source
    err.print(f"{who}, {recall.confidence:.2f}, {recall.usage.prompt_tokens} tokens, {recall.usage.total_ms:.0f} ms")


@app.command("sleep")
def sleep(
    folder: Folder,
    agents: Annotated[
        list[str] | None,
        typer.Option("--agent", help="A role or plugin that learns its users' habits."),
    ] = None,
    base: BaseOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a night that was stopped.")] = False,
    as_json: bool = Json,
) -> None:
    """Train what was told into a plugin."""
    with open_base(base) as loaded, Memory(folder, base=loaded) as memory, training_bar() as bar:
        for agent in agents or ():
            open_agent(loaded, agent, memory)  # the memory hears it
        night = memory.sleep(resume=resume, on_step=bar)
    if as_json:
        print_json(asdict(night))
        return
    out.print(
        f"{night.version or 'nothing published'}: {len(night.learned)} learned, {len(night.kept_in_store)} in store"
    )
    for reason in night.reasons:
        out.print(f"  {reason}", markup=False)


@app.command("forget")
def forget(
    folder: Folder,
    subject: Annotated[str | None, typer.Argument(help="Of whom or what; instead of --user.")] = None,
    user: Annotated[str, typer.Option("--user", help="All that was told and said in the name of a user.")] = "",
) -> None:
    """Forget a subject, or all of a user: in log, store and plugins."""
    with Memory(folder) as memory:
        gone = memory.forget(subject, user=user)
    out.print(f"forgot {len(gone)} of {subject or user}", markup=False)


@app.command("revert")
def revert(folder: Folder) -> None:
    """Undo the last night: use the plugins that there were before it."""
    with Memory(folder) as memory:
        out.print(f"taken back: {', '.join(memory.revert())}")


@app.command("rebuild")
def rebuild(folder: Folder) -> None:
    """Make records and store anew from the log."""
    with Memory(folder) as memory:
        out.print(f"{memory.rebuild()} records hold")


@app.command("export")
def export(folder: Folder, target: Path) -> None:
    """Copy a memory into a new folder, for another machine."""
    with Memory(folder) as memory:
        out.print(f"exported to {memory.export(target)}")


def _records(found: list[Record], as_json: bool) -> None:
    if as_json:
        print_json([asdict(record) | {"text": record.text} for record in found])
        return
    rows = [[str(r.id), r.text, r.valid_from.isoformat()[:16], _until(r), r.source] for r in found]
    table("", ["", "what", "since", "until", "source"], rows)


def _until(record: Record) -> str:
    return record.valid_to.isoformat()[:16] if record.valid_to else ""


def _in_short(content: Any) -> str:
    if content is None:
        return "(erased)"
    if records := content.get("records"):
        return "; ".join(", ".join(map(str, record["told"].values())) for record in records)
    return content.get("version") or content.get("text") or str(content)
