"""The Harbour Hotel: three agents on one base. Role plugins speak in place of long prompts, a toolset plugin calls real
tools in place of their schemas, and two skills read the mail.

make demo                              a guest's day, the night's mail, then the table
loragent demo --ask "Can I bring my dog?"   your own question
loragent demo --rows 10                a larger sample for the table
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from langchain_core.tools import BaseTool
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import loragent as la
from loragent.learning import Condition, Scores, evaluate
from loragent.role import load_role
from loragent.training import read_examples

HOUSE = Path(__file__).parent.parent
ROLES, TOOLS = HOUSE / "roles", HOUSE / "tools" / "hotel"
DESK = {
    "concierge": ("request_state",),
    "reservations": ("availability", "price", "book", "change_booking", "cancel_booking"),
    "housekeeping": ("open_request", "request_state"),
}
SKILLS = ("gist", "slip")
BOOKED = [("Arvid Moen", "suite", "4 April", 5, 2), ("Lucía Herrera", "family", "2 April", 4, 3)]
DAY = (
    "Good evening! Until when is breakfast on Sunday, and may our dog sleep in the room?",
    "Lovely. We might come back in spring: is a family room free from 4 April?",
    "Three nights.",
    "Please book it then. There are four of us, and the name is Mira Osei.",
    "Could we stay one night longer, do you think?",
    "Yes, please.",
    "Oh, and the heating in 305 won't come on.",
    "Thank you so much, goodbye!",
)
MAIL = (
    "Hello, we had such a lovely time with you last year. My wife and I would like the suite again, from 12 May, four "
    "nights. Yours, Henrik Dahl",
    "room 118, the tap in the bathroom drips the whole night, i cannot sleep!! can someone look at it before noon",
)
out = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="loragent demo", description="Three trained roles on one shared base.")
    parser.add_argument("--ask", help="one question of yours in place of the scripted guest")
    parser.add_argument("--rows", type=int, default=4, help="held-out dialogues a role for the table (0: no table)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, la.Base.load() as base:
        show(base, Path(folder), options.ask)
        if options.rows and not options.ask:
            compare(base, options.rows)


def show(base: la.Base, folder: Path, question: str | None) -> None:
    """A guest's day, or one question of yours."""
    began = time.perf_counter()
    tools = open_desk(folder / "hotel.sqlite")
    base.library.attach(TOOLS / "plugin")
    agents = [la.Agent(name, base=base, role=ROLES / name, tools=own) for name, own in tools.items()]
    loaded = time.perf_counter() - began
    out.print(f"[bold]The Harbour Hotel[/bold]: three agents, one base ({base.name}), ready in {loaded:.1f} s\n")
    session = la.Session(agents, pattern="handoff")
    instead = {name: instead_of_plugins(base, name, own) for name, own in tools.items()}
    saved = sum(play(session, text, instead) for text in ([question] if question else DAY))
    out.print(f"\n{saved} prompt tokens saved in this session: no role text and no tool's schema was in any prompt.")
    if not question:
        read_mail(base)


def open_desk(database: Path) -> dict[str, list[BaseTool]]:
    """Each agent's tools, on a database of their own with some bookings in it."""
    os.environ["HARBOUR_HOTEL_DB"] = str(database)
    tools = {tool.name: tool for tool in la.load_tools(TOOLS)}
    for name, room, arrival, nights, guests in BOOKED:
        stay = {"name": name, "room_type": room, "arrival": arrival, "nights": nights, "guests": guests}
        tools["book"].invoke(stay)
    return {name: [tools[tool] for tool in own] for name, own in DESK.items()}


def play(session: la.Session, text: str, instead: dict[str, int]) -> int:
    """One guest message and what the agents make of it; returns the prompt tokens that the plugins saved.

    Args:
        instead: tokens that would stand in each agent's prompt.
    """
    out.print(f"[bold cyan]guest[/bold cyan]         {escape(text)}", soft_wrap=True)
    saved = 0
    for entry in session.run(text).transcript:
        saved += instead[entry.agent]
        for result in entry.reply.results:
            arguments = ", ".join(f"{name}={value}" for name, value in result.call.arguments.items())
            call = escape(f"{result.call.name}({arguments}) -> {result.content}")
            out.print(f"[green]{entry.agent:<13}[/green] [dim]{result.caller} calls[/dim] {call}", soft_wrap=True)
        said = f"[dim]passes on to[/dim] {entry.handed_to}" if entry.handed_to else escape(entry.reply.text)
        out.print(f"[bold green]{entry.agent:<13}[/bold green] {said}", soft_wrap=True)
        usage = entry.reply.usage
        stack = " + ".join(map(str, entry.stack))
        out.print(
            f"              [dim]{stack}: {usage.prompt_tokens} prompt tokens ({instead[entry.agent]} saved), "
            f"{usage.total_ms:.0f} ms[/dim]"
        )
    return saved


def instead_of_plugins(base: la.Base, role: str, tools: list[BaseTool]) -> int:
    """Tokens of the policy and the schemas that would stand in the prompt."""
    policy = la.Message(role="system", content=load_role(ROLES / role).prompt)
    return base.count_tokens(la.GenerationRequest([policy, la.Message(role="user", content="")], tools=tools))


def read_mail(base: la.Base) -> None:
    """Two skills as tools, each on each letter."""
    out.print("\n[bold]The mail[/bold]")
    skills = [la.plugin_tool(ROLES / name / "plugin", name=name, base=base) for name in SKILLS]
    for letter in MAIL:
        out.print(f"[bold cyan]letter[/bold cyan]        {escape(letter)}", soft_wrap=True)
        for skill in skills:
            out.print(f"[bold green]{skill.name:<13}[/bold green] {escape(skill.invoke({'text': letter}))}")


def compare(base: la.Base, rows: int) -> None:
    """Each plugin against the long prompt that it replaces, on the same held-out dialogues."""
    table = Table(
        title=f"\nPlugin against long prompt, {rows} held-out dialogues a role", title_justify="left", box=None
    )
    for column in ("role", "", "reply match", "call exact", "nll/token", "prompt tokens", "first token ms"):
        table.add_column(column, justify="left" if column in ("role", "") else "right")
    with out.status("scoring on held-out dialogues ..."):
        for name in DESK:
            role = load_role(ROLES / name)
            held = read_examples(role.eval_file)
            examples = held[:: max(1, len(held) // rows)][:rows]
            plugin = evaluate(base, examples, Condition("plugin", (la.Use(name),)))
            prompt = evaluate(base, examples, Condition("long prompt", system=role.prompt))
            for label, scores in ((name, plugin), ("", prompt)):
                table.add_row(label, *line(scores))
    out.print(table)
    out.print("\nAll rows: [bold]loragent eval role concierge[/bold]")
    out.print("A role of your own: [bold]loragent train role --data mine.jsonl[/bold]")


def line(scores: Scores) -> list[str]:
    exact = "-" if scores.call_exact is None else f"{scores.call_exact:.2f}"
    return [
        scores.condition,
        f"{scores.reply_match:.2f}",
        exact,
        f"{scores.nll:.2f}",
        f"{scores.prompt_tokens:.0f}",
        f"{scores.first_token_ms:.0f}",
    ]


if __name__ == "__main__":
    main()
