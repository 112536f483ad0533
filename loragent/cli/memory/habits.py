"""Habits told once by four users, and whether later answers keep to them, by a plugin and by other ways; and those of
one, by a role's answers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ...agent import Agent
from ...base import Base
from ...core import GenerationRequest, Message, Use
from ...memory import Fact, Memory
from ...memory.habits import Voice
from ...memory.habits.lesson import kept_shares
from ...memory.habits.manner import habits_of, manner_of
from ...memory.habits.voice import said
from ...role import load_role, scenes
from ..console import training_bar
from .rivals import LINES
from .score import mean
from .world import World

USERS = ("mira", "jon", "ana", "pavel")
OTHERS = 25  # facts that the store holds besides
TOKENS = 96
PROMPT = "Answer the user in the way that these notes about the user ask for.\n"
_CHOICES = {  # a value each for four users, in an order that is drawn
    "form of address": ["Captain", "Doctor Osei", "Madam Secretary", "old friend"],
    "sign-off": ["Fair winds", "Yours, the harbour desk", "Mind the step", "Until tomorrow"],
    "units": ["imperial", "metric", "miles and Fahrenheit", "kilometres and Celsius"],
    "answer language": ["German", "French", "Spanish", "Italian"],
    "answer length": ["one sentence", "short", "detailed", "long"],
}
Ask = Callable[[str, str], GenerationRequest]  # what the base is asked for a user's question


def habits(base: Base, memory: Memory, seed: int) -> list[dict[str, Any]]:
    """A row for each way: the share of answers that keep to what was told, for all habits and part by part."""
    draw = random.Random(seed)
    told = {relation: draw.sample(values, len(values)) for relation, values in _CHOICES.items()}
    for n, user in enumerate(USERS):
        facts = [Fact(subject=user, relation=relation, value=values[n]) for relation, values in told.items()]
        memory.remember(facts, user=user)
    with training_bar() as bar:
        night = memory.sleep(on_step=bar)
    memory.remember(list(islice(World(seed).facts(), OTHERS)))
    ways: list[tuple[str, Ask]] = [
        ("plugin", lambda user, question: _request(question, stack=_mounted(memory, user))),
        (f"store, {LINES} lines", lambda user, question: _request(question, _lines(memory, user, question))),
        ("all five in the prompt", lambda user, question: _request(question, _all(memory, user))),
        ("no memory", lambda _, question: _request(question)),
    ]
    seconds = {"seconds a user": night.seconds / len(USERS), "harm": night.harm}
    empty = dict.fromkeys(seconds, "")
    return [_way(base, memory, name, ask) | (seconds if name == "plugin" else empty) for name, ask in ways]


def role_habits(base: Base, memory: Memory, role: Path) -> dict[str, Any]:
    """How a role's answers keep to a user's habits, and whether they say what they said before, on conversations that
    neither the role nor the habits were trained on.
    """
    agent = Agent(role.name, base=base, role=role, memory=memory, remembers=False)
    user, spec = USERS[0], load_role(role)
    told = {"form of address": "Captain", "sign-off": "Fair winds", "answer length": "one sentence"}
    memory.remember([Fact(subject=user, relation=r, value=v) for r, v in told.items()], user=user)
    with training_bar() as bar:
        night = memory.sleep(on_step=bar)
    manner = manner_of(habits_of(memory.facts(), user).values())
    held_out = scenes(spec, spec.eval_file)
    before = said(base, held_out, agent.stack)
    after = said(base, held_out, [*agent.stack, *_mounted(memory, user, Voice(agent.stack))])
    pairs = list(zip(before, after, strict=True))
    words = [(old.text.strip(), new.text.strip()) for old, new in pairs if old.text.strip() and not old.tool_calls]
    kept = kept_shares(manner, [manner.shown] * len(words), [new for _, new in words])
    return {
        "role": role.name,
        "answers": len(words),
        "kept": mean(kept.values()),
        **kept,
        "says the same": mean(manner.restyled(old) == new for old, new in words),
        "calls": sum(bool(old.tool_calls) for old in before),
        "calls the same": mean(old.tool_calls == new.tool_calls for old, new in pairs if old.tool_calls),
        "calls more": sum(bool(new.tool_calls) and not old.tool_calls for old, new in pairs),
        "seconds": night.seconds,
        "harm": night.harm,
    }


def _way(base: Base, memory: Memory, name: str, ask: Ask) -> dict[str, Any]:
    by_habit: dict[str, list[float]] = {}
    tokens = []
    for user in USERS:
        manner = manner_of(habits_of(memory.facts(), user).values())
        questions = _questions()
        replies = base.generate([ask(user, question) for question, _ in questions])
        bare = [base.count_tokens(_request(question)) for question, _ in questions]
        tokens += [r.usage.prompt_tokens - n for r, n in zip(replies, bare, strict=True)]
        parts = [manner.shown_by(measured) for _, measured in questions]
        for part, share in kept_shares(manner, parts, [reply.text.strip() for reply in replies]).items():
            by_habit.setdefault(part, []).append(share)
    every = [share for shares in by_habit.values() for share in shares]
    spoken = [share for part, shares in by_habit.items() if part != "language" for share in shares]
    return {
        "way": name,
        "habits": len(every),
        "kept": mean(every),
        "kept, but for languages": mean(spoken),
        **{part: mean(shares) for part, shares in by_habit.items()},
        "prompt tokens": mean(tokens),
    }


def _questions() -> list[tuple[str, bool]]:
    """Questions of later turns, and whether their answers name a measure; none of them names a habit."""
    lines = Path(__file__).with_name("later.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["question"], row["measured"]) for row in map(json.loads, lines)]


def _request(question: str, notes: str = "", stack: Sequence[Use] = ()) -> GenerationRequest:
    system = [Message(role="system", content=PROMPT + notes)] if notes else []
    return GenerationRequest([*system, Message(role="user", content=question)], stack, max_tokens=TOKENS)


def _mounted(memory: Memory, user: str, voice: Voice | None = None) -> list[Use]:
    plugin = memory.manner(user, voice)
    return [Use(plugin.path)] if plugin is not None else []


def _lines(memory: Memory, user: str, question: str) -> str:
    return "\n".join(hit.record.text for hit in memory.search(question, LINES, user=user))


def _all(memory: Memory, user: str) -> str:
    return "\n".join(record.text for record in habits_of(memory.facts(), user).values())
