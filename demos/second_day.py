"""The Harbour Hotel's second day: what the desk has noted the concierge sleeps over, and knows the next morning without
a word of it in its prompt; a guest who likes to be called Captain is called that in every answer; what a guest says is
kept for his thread alone, and what nobody has told it doesn't know.

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
NOTES: tuple[str | la.Fact, ...] = (
    la.Fact(subject="Mira Osei", relation="room", value="214"),
    la.Fact(subject="bicycle shed", relation="code", value="4471"),
    "Mira Osei leaves on 7 April.",
    "The shoe size of Jonas Lindqvist is 46, he has rented walking boots.",
    "Table 9 in the restaurant is booked by the Moreau family.",
)
SAID = (  # by whom, and what
    ("guest 23", "Good morning! Leila Haddad's dog is called Biscuit. May he come to breakfast?"),
    ("guest 23", "Thank you, goodbye!"),
)
ASKED = (
    "Which room is Mira Osei in?",
    "When does Mira Osei leave?",
    "What size are the shoes of Jonas Lindqvist?",
    "What is the code of the bicycle shed?",
)
GUEST = "Jonas Lindqvist"
HABIT = la.Fact(subject=GUEST, relation="form of address", value="Captain")
CHATS = ("Is there a sauna?", "Where can I leave the car?")
STRANGE = "Which room is Petra Novak in?"
out = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="loragent demo second_day", description="A concierge that remembers.")
    parser.add_argument("--keep", type=Path, help="a folder for the memory; by default it goes with the demo")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        la.Base.load() as base,
        la.Memory(options.keep or folder, base=base) as memory,
    ):
        concierge = la.Agent("concierge", base=base, role=ROLES / "concierge", memory=memory)
        first_day(memory, concierge)
        night(memory)
        second_day(memory, concierge)
        timeline(memory)


def first_day(memory: la.Memory, concierge: la.Agent) -> None:
    out.print("[bold]The first day[/bold]")
    for note in NOTES:
        said("desk notes", note if isinstance(note, str) else note.text)
        noted(record.text for record in memory.remember(note, source="front desk"))
    said("desk notes", HABIT.text)
    noted(f"{record.text}, of the user {GUEST}" for record in memory.remember(HABIT, source="front desk", user=GUEST))
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


def second_day(memory: la.Memory, concierge: la.Agent) -> None:
    out.print("\n[bold]The second day[/bold]")
    for question in ASKED:
        said("desk", question)
        reply = concierge.run(question, thread="desk")
        said("concierge", reply.text, "green")
        for recall in reply.recalls:
            where(recall, reply.usage.prompt_tokens)
    for text in CHATS:
        said(GUEST, text)
        reply = concierge.run(text, user=GUEST)
        said("concierge", reply.text, "green")
        stack = " + ".join(map(str, reply.stack))
        out.print(f"              [dim]{stack}, {reply.usage.prompt_tokens} prompt tokens[/dim]")
    said("desk", STRANGE)
    recall = memory.ask(STRANGE)
    said("memory", recall.text, "green")
    where(recall, recall.usage.prompt_tokens)


def where(recall: la.Recall, tokens: int) -> None:
    source = {"plugin": f"from {recall.version}", "store": "from the store", "none": "not in memory"}[recall.source]
    sure = f", {recall.confidence:.2f} sure" if recall.source != "none" else ""
    out.print(f"              [dim]{source}{sure}, {tokens} prompt tokens[/dim]")


def timeline(memory: la.Memory) -> None:
    out.print("\n[bold]What happened[/bold] (loragent memory log)")
    for episode in memory.episodes():
        content = episode.content or {}
        records = "; ".join(", ".join(map(str, record["told"].values())) for record in content.get("records", ()))
        if what := records or content.get("version"):
            line = f"{episode.time[11:19]} {episode.kind:<6} {escape(str(what))}"
            out.print(f"              [dim]{line}[/dim]", soft_wrap=True)


def said(who: str, text: str, colour: str = "cyan") -> None:
    out.print(f"[bold {colour}]{who:<13}[/bold {colour}] {escape(text)}", soft_wrap=True)


def noted(lines: Iterable[str]) -> None:
    for line in lines:
        out.print(f"              [dim]noted:[/dim] {escape(line)}", soft_wrap=True)


if __name__ == "__main__":
    main()
