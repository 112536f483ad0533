"""The Harbour Hotel: three agents, each with a trained role plugin in place of a long prompt, on one base.

make demo                              a guest's day, then the table
loragent demo --ask "Can I bring my dog?"   your own question
loragent demo --rows 10                a larger sample for the table
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import loragent as la
from loragent.learning import Condition, Scores, evaluate
from loragent.role import load_role
from loragent.training import read_examples

ROLES = Path(__file__).parent.parent / "roles"
NAMES = ("concierge", "reservations", "housekeeping")
DAY = (
    "Good evening! Until when is breakfast on Sunday, and may our dog sleep in the room?",
    "Lovely. We might come back in spring: is a family room free from 4 April?",
    "Three nights, for two adults and two children. My name is Mira Osei.",
    "Yes please!",
    "Oh, and the heating in 305 won't come on.",
    "Is my colleague Tom Varga staying here too?",
    "Thank you so much, goodbye!",
)
out = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="loragent demo", description="Three trained roles on one shared base.")
    parser.add_argument("--ask", help="one question of yours in place of the scripted guest")
    parser.add_argument("--rows", type=int, default=4, help="held-out dialogues a role for the table (0: no table)")
    options = parser.parse_args()
    with out.status("loading the base and three role plugins ..."):
        began = time.perf_counter()
        base = la.Base.load()
        agents = [la.Agent(name, base=base, role=ROLES / name) for name in NAMES]
    loaded = time.perf_counter() - began
    out.print(f"[bold]The Harbour Hotel[/bold]: three agents, one base ({base.name}), loaded in {loaded:.1f} s\n")
    session = la.Session(agents, pattern="handoff")
    saved = sum(play(base, session, text) for text in ([options.ask] if options.ask else DAY))
    out.print(f"\n{saved} prompt tokens saved in this session: no role text was in any prompt.")
    if options.rows and not options.ask:
        compare(base, options.rows)
    base.close()


def play(base: la.Base, session: la.Session, text: str) -> int:
    """One guest message and what the agents make of it; returns the prompt tokens that the plugins saved."""
    out.print(f"[bold cyan]guest[/bold cyan]         {escape(text)}", soft_wrap=True)
    saved = 0
    for entry in session.run(text).transcript:
        policy = la.GenerationRequest([la.Message(role="system", content=load_role(ROLES / entry.agent).prompt)])
        instead = base.count_tokens(policy)
        saved += instead
        said = f"[dim]passes on to[/dim] {entry.handed_to}" if entry.handed_to else escape(entry.reply.text)
        out.print(f"[bold green]{entry.agent:<13}[/bold green] {said}", soft_wrap=True)
        usage = entry.reply.usage
        stack = " + ".join(map(str, entry.stack))
        out.print(
            f"              [dim]{stack}: {usage.prompt_tokens} prompt tokens ({instead} saved), "
            f"{usage.total_ms:.0f} ms[/dim]"
        )
    return saved


def compare(base: la.Base, rows: int) -> None:
    """Each plugin against the long prompt that it replaces, on the same held-out dialogues."""
    table = Table(
        title=f"\nPlugin against long prompt, {rows} held-out dialogues a role", title_justify="left", box=None
    )
    for column in ("role", "", "reply match", "call exact", "nll/token", "prompt tokens", "first token ms"):
        table.add_column(column, justify="left" if column in ("role", "") else "right")
    with out.status("scoring on held-out dialogues ..."):
        for name in NAMES:
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
