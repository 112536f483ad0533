"""The Harbour Hotel's second day: what the concierge hears by day it keeps, sleeps over, and knows the next morning
without a word of it in its prompt.

loragent demo second_day                three guests and the desk's notes, a night, the next morning, the timeline
loragent demo second_day --keep state   the memory is kept in that folder
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import loragent as la

ROLES = Path(__file__).parent.parent / "roles"
NOTES = (
    "Mira Osei stays in room 214 and leaves on 7 April.",
    "The shoe size of Jonas Lindqvist is 46, he has rented walking boots.",
    "Table 9 in the restaurant is booked by the Moreau family.",
    "The code of the bicycle shed is 4471.",
)
SAID = (  # by whom, and what
    ("room 305", "Hello, I'm allergic to walnuts. Until when is breakfast on Sunday?"),
    ("room 118", "Good morning! Leila Haddad's dog is called Biscuit. May he come to breakfast?"),
    ("room 118", "Thank you, goodbye!"),
)
ASKED = (
    ("desk", "Which room is Mira Osei in?"),
    ("desk", "When does Mira Osei leave?"),
    ("desk", "What size are the shoes of Jonas Lindqvist?"),
    ("desk", "How do I get into the bicycle shed, what is its code?"),
    ("room 305", "What am I allergic to?"),
    ("desk", "Which room is Petra Novak in?"),
)
out = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="loragent demo second_day", description="A concierge that remembers.")
    parser.add_argument("--keep", type=Path, help="a folder for the memory; by default it goes with the demo")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, la.Base.load() as base:
        base.library.attach(ROLES / "memory-writer" / "plugin")
        with la.Memory(options.keep or folder, base=base) as memory:
            concierge = la.Agent("concierge", base=base, role=ROLES / "concierge", memory=memory)
            first_day(memory, concierge)
            night(memory)
            second_day(concierge)
            timeline(memory)


def first_day(memory: la.Memory, concierge: la.Agent) -> None:
    out.print("[bold]The first day[/bold]")
    for note in NOTES:
        said("desk notes", note)
        noted(record.text for record in memory.remember(note, source="front desk"))
    for who, text in SAID:
        said(who, text)
        reply = concierge.run(text, thread=who)
        said("concierge", reply.text, "green")
        noted(reply.noted)


def night(memory: la.Memory) -> None:
    out.print(f"\n[bold]The night[/bold]: {len(memory.waiting())} facts that no plugin knows")
    with Progress(TextColumn("              {task.description}"), BarColumn(), TimeElapsedColumn(), console=out) as bar:
        task = bar.add_task("learning")
        made = memory.sleep(on_step=lambda step: bar.update(task, completed=step.step, total=step.steps))
    out.print(
        f"              {made.version or 'nothing published'}: {len(made.learned)} learnt and checked, "
        f"{len(made.kept_in_store)} left to the store, {made.seconds:.0f} s"
    )


def second_day(concierge: la.Agent) -> None:
    out.print("\n[bold]The second day[/bold]")
    for who, question in ASKED:
        said(who, question)
        reply = concierge.run(question, thread=who)
        said("concierge", reply.text, "green")
        for recall in reply.recalls or (la.Recall("", "none"),):
            source = {"plugin": f"from {recall.version}", "store": "read from the store", "none": "not in memory"}
            sure = f", {recall.confidence:.2f} sure" if recall.source != "none" else ""
            out.print(
                f"              [dim]{source[recall.source]}{sure}, {reply.usage.prompt_tokens} prompt tokens[/dim]"
            )


def timeline(memory: la.Memory) -> None:
    out.print("\n[bold]What happened[/bold] (loragent memory log)")
    for episode in memory.episodes():
        content = episode.content or {}
        what = content.get("version") or content.get("text") or ""
        if episode.kind in ("told", "slept"):
            out.print(f"              [dim]{episode.time[11:19]} {episode.kind:<6} {escape(str(what))}[/dim]")


def said(who: str, text: str, colour: str = "cyan") -> None:
    out.print(f"[bold {colour}]{who:<13}[/bold {colour}] {escape(text)}", soft_wrap=True)


def noted(lines: Iterable[str]) -> None:
    for line in lines:
        out.print(f"              [dim]noted:[/dim] {escape(line)}")


if __name__ == "__main__":
    main()
