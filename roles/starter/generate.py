"""Composes the starter's dialogues from the domain files: python roles/starter/generate.py

A dialogue is a caller who wants one thing and an agent with one tool. What varies: how much the caller says at once and
in which words, small talk, corrections, what can't be remembered, what the tool answers. The same seed gives the same
files, train.jsonl and eval.jsonl.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from values import draw

HERE = Path(__file__).parent
TRAIN, EVAL = 720, 12
CHANGES = (
    "On second thought,",
    "oh wait,",
    "Sorry, one more change:",
    "Change of plan:",
    "hang on, better:",
    "I've changed my mind,",
    "can we change that?",
)


@dataclass
class Talk:
    """One dialogue in the making."""

    domain: dict[str, Any]
    rng: random.Random
    messages: list[dict[str, Any]] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)  # what the agent has heard, canonical

    def __post_init__(self) -> None:
        self.slots = {slot["name"]: slot for slot in self.domain["slots"]}
        self.values = {name: draw(slot["values"], self.rng) for name, slot in self.slots.items()}
        swaps = self.domain.get("alternatives") or {}
        self.swapped = {key: [to] if isinstance(to, str) else list(to) for key, to in swaps.items()}
        spare = {name for names in self.swapped.values() for name in names}
        self.needed = [name for name in self.slots if name not in spare]

    def user(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def agent(self, text: str) -> None:
        self.messages.append({"role": "assistant", "content": text})

    def say_slot(self, name: str, template: str) -> str:
        """The caller's words for a slot, which the agent now knows."""
        self.known[name] = self.values[name].canonical
        return template.replace("{}", self.values[name].spoken)

    def missing(self) -> list[str]:
        return [name for name in self.needed if name not in self.known]


def compose(domain: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One dialogue of a domain."""
    talk = Talk(domain, rng)
    _open(talk)
    _collect(talk)
    if not domain["check_then_book"] or _check(talk):
        _finish(talk)
    for user, agent in rng.sample(domain["closings"], rng.choice([1, 1, 1, 2])):
        talk.user(user)
        talk.agent(agent)
    return {"domain": domain["domain"], "messages": talk.messages}


def _open(talk: Talk) -> None:
    rng, domain = talk.rng, talk.domain
    if rng.random() < 0.35:
        talk.user(rng.choice(domain["openings"]))
        talk.agent(domain["greeting"])
    template = rng.choice(domain["requests"])
    for name in re.findall(r"\{([^{}]+)\}", template):
        if name in talk.needed:
            talk.known[name] = talk.values[name].canonical
        template = template.replace("{" + name + "}", talk.values[name].spoken)
    talk.user(template)


def _collect(talk: Talk) -> None:
    """Ask for what is missing, one thing at a time, in the order of the slots."""
    rng, domain = talk.rng, talk.domain
    wandered = 0
    lead = ""
    while missing := talk.missing():
        name = missing[0]
        slot = talk.slots[name]
        talk.agent(lead + slot["ask"][0 if rng.random() < 0.8 else -1])
        lead = ""
        chance = rng.random()
        if chance < 0.10 and wandered < 2:
            wandered += 1
            aside = rng.choice(domain["digressions"])
            talk.user(aside["user"])
            lead = aside["agent"] + " "
        elif chance < 0.16 and wandered < 2:
            wandered += 1
            talk.user(rng.choice(domain["dont_know"]))
            if name in talk.swapped:  # another way to the same end
                gone = [n for n in talk.swapped if n not in talk.known]
                places = [n for key in gone for n in talk.swapped[key]]
                talk.needed = list(dict.fromkeys([*places, *(n for n in talk.needed if n not in gone)]))
            else:
                lead = "Take your time, I need it to go on. "
        else:
            talk.user(_answer(talk, name, missing[1:]))


def _answer(talk: Talk, name: str, others: list[str]) -> str:
    rng = talk.rng
    text = talk.say_slot(name, rng.choice(talk.slots[name]["tell"]))
    if others and rng.random() < 0.15:  # one more, unasked
        more = rng.choice(others)
        text = f"{text.rstrip('.')}, {talk.say_slot(more, rng.choice(talk.slots[more]['tell']))}"
    elif rng.random() < 0.07:
        talk.values[name] = draw(talk.slots[name]["values"], rng)
        text = f"{text}. {talk.say_slot(name, rng.choice(talk.domain['corrections']))}"
    return text


def _call(talk: Talk, kind: str, outcome: dict[str, Any]) -> None:
    """The call, what comes back, and what the agent makes of it."""
    arguments = {name: talk.known[name] for name in talk.slots if name in talk.known and name in talk.needed}
    if kind:
        arguments["mode"] = kind
    tool = talk.domain["tool"]
    call = {"type": "function", "function": {"name": tool, "arguments": arguments}}
    talk.messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
    result = {
        k: draw(v, talk.rng).canonical if isinstance(v, str) and v.startswith("@") else v
        for k, v in outcome["result"].items()
    }
    talk.messages.append({"role": "tool", "name": tool, "content": json.dumps(result, ensure_ascii=False)})
    facts = {**talk.known, **result}
    talk.agent(re.sub(r"\{([^{}]+)\}", lambda found: str(facts[found.group(1)]), outcome["say"]))


def _check(talk: Talk) -> bool:
    """Whether it is free, until the caller takes it or gives up; in between callers change their minds."""
    rng, domain = talk.rng, talk.domain
    outcomes = domain["checked"]
    for changes in range(4):
        taken = changes < 3 and rng.random() < 0.25
        _call(talk, "check", outcomes["taken" if taken else "free"])
        if taken:
            if rng.random() < 0.25:
                return _give_up(talk)
            _change(talk, outcomes["taken"]["change"])
            continue
        if rng.random() < 0.08:
            _wander(talk)
        if changes == 3 or rng.random() < 0.6:
            break
        if rng.random() < 0.15:
            return _give_up(talk)
        _change(talk, rng.choice([name for name in talk.slots if name in talk.needed]))
    talk.user(rng.choice(domain["yes"]))
    return True


def _give_up(talk: Talk) -> bool:
    talk.user(talk.rng.choice(talk.domain["no"]))
    talk.agent(talk.domain["closings"][0][1])
    return False


def _change(talk: Talk, name: str) -> None:
    """Another value for a slot that was given already."""
    rng, slot = talk.rng, talk.slots[name]
    talk.values[name] = draw(slot["values"], rng)
    answer = rng.choice(slot["tell"])
    talk.user(talk.say_slot(name, rng.choice([answer, *(f"{lead} {answer}" for lead in CHANGES)])))


def _wander(talk: Talk) -> None:
    """Small talk, after which the agent says again what it said."""
    offer, aside = talk.messages[-1]["content"], talk.rng.choice(talk.domain["digressions"])
    talk.user(aside["user"])
    talk.agent(f"{aside['agent']} {offer}")


def _finish(talk: Talk) -> None:
    refused = talk.domain.get("refused") or []
    outcome = talk.rng.choice(refused) if refused and talk.rng.random() < 0.15 else talk.rng.choice(talk.domain["done"])
    _call(talk, "book" if talk.domain["check_then_book"] else "", outcome)


def main() -> None:
    domains = [json.loads(p.read_text(encoding="utf-8")) for p in sorted((HERE / "domains").glob("*.json"))]
    rng = random.Random(13)
    rows = [compose(domains[n % len(domains)], rng) for n in range(TRAIN + EVAL)]
    for name, part in (("eval", rows[:EVAL]), ("train", rows[EVAL:])):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (HERE / f"{name}.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(rows) - EVAL} dialogues to train on, {EVAL} to evaluate on")


if __name__ == "__main__":
    main()
