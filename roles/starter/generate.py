"""Composes the starter's dialogues from the domain files: python roles/starter/generate.py

A dialogue is a caller who wants one thing and an agent with one tool. What varies: how much the caller says at once and
in which words, small talk, corrections, what can't be remembered, what the tool answers. The agent asks in a fixed
order for what is still missing and calls with what was said last, so that every turn hangs on the whole conversation,
not on the turn before. The same seed gives the same files, train.jsonl and eval.jsonl.
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
TRAIN, EVAL = 1920, 24
CHANGES = (
    "On second thought,",
    "oh wait,",
    "Sorry, one more change:",
    "Change of plan:",
    "hang on, better:",
    "I've changed my mind,",
    "can we change that?",
)
RENAMED = (
    "actually, make the {slot} {value}",
    "Please change the {slot} to {value}.",
    "wait, {slot}: {value} instead",
    "the {slot} is {value} now, forget what I said",
    "{value} as {slot} would be better after all",
    "Sorry, about the {slot}, {value} please",
)
NAMED = (
    "{slot} {value}",
    "the {slot} is {value}",
    "{slot}: {value}",
    "{value} for the {slot}",
    "and {value} as {slot}",
)
# How a tool tells yes from no, where a domain's own words aren't used: alike on the face of it.
VERDICTS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"Message": "Available"}, {"Message": "Not available"}),
    ({"available": True}, {"available": False}),
    ({"Result": "possible"}, {"Result": "impossible"}),
    ({"status": "free"}, {"status": "taken"}),
    ({"answer": "yes"}, {"answer": "no"}),
    ({"places": 2}, {"places": 0}),
)
# How a call says whether it asks or acts: the argument, asking, acting.
MODES: tuple[tuple[str, Any, Any], ...] = (
    ("mode", "check", "book"),
    ("Purpose", "Enquire", "Reserve"),
    ("confirm", False, True),
    ("Stage", "Look", "Confirm"),
)


@dataclass
class Talk:
    """One dialogue in the making."""

    domain: dict[str, Any]
    rng: random.Random
    messages: list[dict[str, Any]] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)  # what the agent has heard, canonical
    facts: dict[str, Any] = field(default_factory=dict)  # that, and what the tool said last
    told: str = ""  # what the agent made of it

    def __post_init__(self) -> None:
        self.slots = {slot["name"]: slot for slot in self.domain["slots"]}
        self.values = {name: draw(slot["values"], self.rng) for name, slot in self.slots.items()}
        swaps = self.domain.get("alternatives") or {}
        self.swapped = {key: [to] if isinstance(to, str) else list(to) for key, to in swaps.items()}
        spare = {name for names in self.swapped.values() for name in names}
        self.needed = [name for name in self.slots if name not in spare]
        self.modes = MODES[sum(map(ord, self.domain["domain"])) % len(MODES)]
        self.verdicts = self.rng.choice(VERDICTS) if self.rng.random() < 0.4 else None

    def user(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def agent(self, text: str) -> None:
        self.messages.append({"role": "assistant", "content": text})

    def say_slot(self, name: str, template: str) -> str:
        """The caller's words for a slot, which the agent now knows."""
        self.known[name] = self.values[name].canonical
        return template.replace("{}", self.values[name].spoken)

    def fill(self, template: str) -> str:
        """The agent's words with the facts in them."""
        return re.sub(r"\{([^{}]+)\}", lambda found: str(self.facts[found.group(1)]), template)

    def renew(self, name: str) -> None:
        """The caller wants another value now."""
        for _ in range(8):
            self.values[name] = draw(self.slots[name]["values"], self.rng)
            if self.values[name].canonical != self.known.get(name):
                return

    def say_anew(self, name: str) -> str:
        """Another value for a slot, named, so that it can come at any time."""
        self.renew(name)
        return self.say_slot(name, self.rng.choice(RENAMED).format(slot=_words(name), value="{}"))

    def alike(self, name: str) -> bool:
        """Whether another slot holds the like, so that a bare value doesn't tell which is meant."""
        return sum(self.slots[name]["values"] == other["values"] for other in self.slots.values()) > 1

    def say_unasked(self, name: str) -> str:
        """A slot that wasn't asked for; named where another holds the like."""
        if self.alike(name) or self.rng.random() < 0.3:
            return self.say_slot(name, self.rng.choice(NAMED).format(slot=_words(name), value="{}"))
        return self.say_slot(name, self.rng.choice(self.slots[name]["tell"]))

    def missing(self) -> list[str]:
        return [name for name in self.needed if name not in self.known]


def _words(name: str) -> str:
    """How people say a slot's name."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])|_", " ", name).lower()


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
    first, second = rng.sample(domain["requests"], 2)
    template = max(first, second, key=lambda t: t.count("{")) if rng.random() < 0.5 else first
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
    """What was asked for; at times with what wasn't, or with a change of mind about what was said before."""
    rng = talk.rng
    earlier = [n for n in talk.known if n in talk.needed]
    text = talk.say_slot(name, rng.choice(talk.slots[name]["tell"]))
    chance = rng.random()
    if others and chance < 0.38:
        for more in rng.sample(others, min(len(others), rng.choice([1, 1, 2]))):
            text = f"{text.rstrip('.')}, {talk.say_unasked(more)}"
    elif chance < 0.45:
        talk.renew(name)
        text = f"{text}. {talk.say_slot(name, rng.choice(talk.domain['corrections']))}"
    elif earlier and chance < 0.58:
        text = f"{text.rstrip('.')}. {talk.say_anew(rng.choice(earlier))}"
    return text


def _call(talk: Talk, kind: str, outcome: dict[str, Any]) -> None:
    """The call, what comes back, and what the agent makes of it."""
    arguments = {name: talk.known[name] for name in talk.slots if name in talk.known and name in talk.needed}
    if kind:
        key, asks, acts = talk.modes
        arguments[key] = asks if kind == "check" else acts
    tool = talk.domain["tool"]
    call = {"type": "function", "function": {"name": tool, "arguments": arguments}}
    talk.messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
    result = {
        k: draw(v, talk.rng).canonical if isinstance(v, list) or str(v).startswith("@") else v
        for k, v in outcome["result"].items()
    }
    talk.messages.append({"role": "tool", "name": tool, "content": json.dumps(result, ensure_ascii=False)})
    talk.facts = {**talk.known, **result}
    talk.agent(talk.fill(outcome["say"]))
    talk.told = talk.messages[-1]["content"]
    _question(talk, outcome)


def _question(talk: Talk, outcome: dict[str, Any]) -> None:
    """Callers ask for what the tool said and the agent didn't."""
    told = re.findall(r"\{([^{}]+)\}", outcome["say"])
    open_ones = [
        q for q in talk.domain.get("questions", []) if q["fact"] in outcome["result"] and q["fact"] not in told
    ]
    for question in talk.rng.sample(open_ones, min(len(open_ones), talk.rng.choice([0, 1, 1, 2]))):
        talk.user(talk.rng.choice(question["user"]))
        talk.agent(talk.fill(question["agent"]))


def _verdict(talk: Talk, kind: str) -> dict[str, Any]:
    """An outcome of a check: in the domain's own words, or with a plain yes or no where nothing else is said."""
    own = talk.domain["checked"][kind]
    outcome: dict[str, Any] = talk.rng.choice(own) if isinstance(own, list) else own
    bare = not set(re.findall(r"\{([^{}]+)\}", outcome["say"])) & set(outcome["result"])
    if bare and talk.verdicts:
        return outcome | {"result": talk.verdicts[kind == "taken"]}
    return outcome


def _check(talk: Talk) -> bool:
    """Whether it is free, until the caller takes it or gives up; in between callers change their minds."""
    rng, domain = talk.rng, talk.domain
    for changes in range(4):
        taken = changes < 3 and rng.random() < 0.4
        outcome = _verdict(talk, "taken" if taken else "free")
        _call(talk, "check", outcome)
        if taken:
            if rng.random() < 0.2:
                return _give_up(talk)
            _change(talk, outcome["change"], asked=True)
            continue
        if rng.random() < 0.08:
            _wander(talk)
        if changes == 3 or rng.random() < 0.65:
            break
        if rng.random() < 0.15:
            return _give_up(talk)
        _change(talk, rng.choice([name for name in talk.slots if name in talk.needed]), asked=False)
    talk.user(rng.choice(domain["yes"]))
    return True


def _give_up(talk: Talk) -> bool:
    talk.user(talk.rng.choice(talk.domain["no"]))
    talk.agent(talk.domain["closings"][0][1])
    return False


def _change(talk: Talk, name: str, *, asked: bool) -> None:
    """Another value for a slot that was given already, or for two."""
    rng, slot = talk.rng, talk.slots[name]
    if rng.random() < 0.5 or (talk.alike(name) and not asked):
        text = talk.say_anew(name)
    else:
        talk.renew(name)
        answer = rng.choice(slot["tell"])
        text = talk.say_slot(name, rng.choice([answer, *(f"{lead} {answer}" for lead in CHANGES)]))
    others = [n for n in talk.needed if n != name]
    if rng.random() < 0.15:
        text = f"{text.rstrip('.')}, and {talk.say_anew(rng.choice(others))}"
    talk.user(text)


def _wander(talk: Talk) -> None:
    """Small talk, after which the agent says again what it said."""
    aside = talk.rng.choice(talk.domain["digressions"])
    talk.user(aside["user"])
    talk.agent(f"{aside['agent']} {talk.told}")


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
