"""What the slots of the starter's domains hold: values as they go into a call, and as callers say them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS: dict[str, list[str]] = json.loads((Path(__file__).parent / "words.json").read_text(encoding="utf-8"))


@dataclass
class Value:
    """What a slot holds: as it goes into the call, and as the caller says it."""

    canonical: Any
    spoken: str


def draw(kind: Any, rng: random.Random) -> Value:
    """A value from a list (an entry may be a list: the canonical form, then what callers say) or of a generic kind."""
    if isinstance(kind, list):
        entry = rng.choice(kind)
        return Value(entry, entry) if isinstance(entry, str) else Value(entry[0], rng.choice(entry))
    if kind == "@name":
        return _cased(f"{rng.choice(WORDS['first'])} {rng.choice(WORDS['surname'])}", rng)
    if kind in ("@first", "@surname", "@day"):
        return _cased(rng.choice(WORDS[kind[1:]]), rng)
    if kind == "@time":
        hour, half = rng.randint(1, 12), rng.choice(["pm", "am"])
        minutes = rng.choice(["", "", "", ":30", ":15"])
        canonical = f"{hour}{minutes} {half}"
        return Value(canonical, rng.choice([canonical, f"{hour}{minutes}{half}", canonical.upper()]))
    if kind == "@yesno":
        canonical = rng.choice(["Yes", "No"])
        return Value(canonical, rng.choice(WORDS[canonical.lower()]))
    if kind == "@int":
        number = rng.randint(1, 12)
        return Value(number, str(number))
    text = _text(kind, rng)
    return Value(text, text)


def _cased(text: str, rng: random.Random) -> Value:
    return Value(text, text.lower() if rng.random() < 0.15 else text)


def _text(kind: str, rng: random.Random) -> str:
    """Kinds that callers say just as they go into the call; what is no kind is taken as it is."""
    if kind == "@date":
        return _date(rng)
    if kind == "@code":
        return "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(2)) + _digits(4, rng)
    if kind in ("@digits4", "@digits8"):
        return _digits(int(kind[-1]), rng)
    if kind == "@phone":
        forms = (f"0{_digits(3, rng)} {_digits(6, rng)}", f"+44 7{_digits(9, rng)}", f"555-{_digits(4, rng)}")
        return rng.choice(forms)
    if kind == "@money":
        return rng.choice(["{} euros", "£{}", "${}"]).format(rng.randint(5, 900))
    if kind == "@email":
        who = f"{rng.choice(WORDS['first'])}.{rng.choice(WORDS['surname'])}".lower()
        return f"{who}@{rng.choice(['mail', 'post', 'inbox'])}.example"
    if kind == "@city":
        return rng.choice(WORDS["city"])
    if kind == "@street":
        return f"{rng.randint(1, 140)} {rng.choice(WORDS['street'])}"
    return kind


def _date(rng: random.Random) -> str:
    day, month = rng.randint(1, 28), rng.choice(WORDS["month"])
    ending = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(day, "th")
    forms = ("{d} {m}", "{m} {d}", "{m} {d}{e}", "the {d}{e} of {m}", "{d}/{n}")
    return rng.choice(forms).format(d=day, m=month, e=ending, n=rng.randint(1, 12))


def _digits(count: int, rng: random.Random) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))
