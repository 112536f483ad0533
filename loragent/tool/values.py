"""Typed values for slots: how somebody says them, and what the call gets."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Value = tuple[str, Any]  # as said, as argument
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December"]  # fmt: skip
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_GIVEN = [
    "Mira", "Tom", "Aisha", "Jonas", "Lucía", "Kofi", "Ingrid", "Wei", "Priya", "Mateo", "Zoë",
    "Henrik", "Fatima", "Oleg", "Nora", "Samuel", "Yuki", "Clara", "Ravi", "Elif", "Björn", "Amara",
    "Pavel", "Siobhán", "Diego", "Hana", "Luca", "Thandi", "Emil", "Rosa", "Malik", "Greta", "Anselm",
    "Ibrahim", "Noémie", "Stellan",
]  # fmt: skip
_FAMILY = [
    "Osei", "Varga", "Lindqvist", "Okafor", "Moreau", "Tanaka", "Petrov", "Silva", "Keller", "Nakamura",
    "Haddad", "O'Brien", "Kowalski", "Ferrari", "Jensen", "Mbeki", "Novak", "Castillo", "Schmidt",
    "Yilmaz", "Adeyemi", "Larsson", "Iyer", "Dubois", "Papadakis", "Rossi", "Chen", "Fernández", "Holm",
    "Barbosa",
]  # fmt: skip
_TOWNS = [
    "Lisbon", "Oslo", "Nairobi", "Kyoto", "Lima", "Gdansk", "Porto", "Toronto", "Accra", "Vienna",
    "Tallinn", "Cork", "Hobart", "Busan", "Zürich", "Aarhus", "Quito", "Galway", "Leeds", "Malmö",
    "Fez", "Brno",
]  # fmt: skip


def _name(draw: random.Random) -> Value:
    text = f"{draw.choice(_GIVEN)} {draw.choice(_FAMILY)}"
    return text, text


def _day(draw: random.Random) -> Value:
    """A day as it is said, which is what the call gets too: no year is known."""
    text = _said_day(draw, *_month_and_day(draw))
    return text, text


def _date(draw: random.Random) -> Value:
    month, day = _month_and_day(draw)
    year = draw.choice([2026, 2027, 2028])
    return f"{_said_day(draw, month, day)} {year}", datetime.date(year, month, day).isoformat()


def _time(draw: random.Random) -> Value:
    hour, minute = draw.randint(0, 23), draw.choice([0, 0, 15, 30, 45])
    said = f"{(hour - 1) % 12 + 1}{f':{minute:02}' if minute else ''} {'am' if hour < 12 else 'pm'}"
    exact = f"{hour:02}:{minute:02}"
    return draw.choice([exact, said]), exact


def _mail(draw: random.Random) -> Value:
    text = f"{draw.choice(_GIVEN)}.{draw.choice(_FAMILY)}@{draw.choice(['post', 'mail', 'letters'])}.example".lower()
    text = text.replace("'", "")
    return text, text


def _phone(draw: random.Random) -> Value:
    text = f"+{draw.randint(20, 99)} {draw.randint(100, 999)} {draw.randint(1000, 9999)}"
    return text, text


def _town(draw: random.Random) -> Value:
    text = draw.choice(_TOWNS)
    return text, text


KINDS: dict[str, Callable[[random.Random], Value]] = {
    "name": _name,
    "day": _day,
    "date": _date,
    "time": _time,
    "email": _mail,
    "phone": _phone,
    "town": _town,
}


def value_for(wanted: Any, schema: Mapping[str, Any], draw: random.Random) -> Value | None:
    """A value for a slot, as it is said and as an argument; None if there is nothing to draw from.

    Args:
        wanted: from ``[values]``: a list to choose from, a table ``{said = argument}``, ``{min, max}``, or one of
            ``KINDS``; None if it says nothing of the slot.
        schema: of the argument of that name.
    """
    if isinstance(wanted, str) and wanted in KINDS:
        return KINDS[wanted](draw)
    if isinstance(wanted, Mapping) and not {"min", "max"} <= wanted.keys():
        said = draw.choice(sorted(wanted))
        return said, wanted[said]
    if isinstance(wanted, Sequence) and not isinstance(wanted, str) and wanted:
        found = draw.choice(list(wanted))
        return str(found), found
    bounds = wanted if isinstance(wanted, Mapping) else schema
    return _from_schema(schema, bounds, draw)


def _from_schema(schema: Mapping[str, Any], bounds: Mapping[str, Any], draw: random.Random) -> Value | None:
    if "enum" in schema:
        found = draw.choice(schema["enum"])
        return str(found).replace("_", " "), found
    kind = schema.get("type", "integer" if "min" in bounds else None)
    low = bounds.get("min", bounds.get("minimum", 1))
    high = max(low, bounds.get("max", bounds.get("maximum", max(20, 2 * low))))
    if kind == "integer":
        number = draw.randint(int(low), int(high))
        in_words = 0 < number < len(_WORDS) and draw.random() < 0.5
        return _WORDS[number] if in_words else str(number), number
    if kind == "number":
        amount = round(draw.uniform(low, high), draw.choice([0, 1, 2]))
        return str(int(amount) if amount == int(amount) else amount), amount
    if schema.get("format") in KINDS:
        return KINDS[schema["format"]](draw)
    return None


def _month_and_day(draw: random.Random) -> tuple[int, int]:
    month = draw.randint(1, 12)
    return month, draw.randint(1, _DAYS[month - 1])


def _said_day(draw: random.Random, month: int, day: int) -> str:
    name = _MONTHS[month - 1]
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return draw.choice([f"{day} {name}", f"{name} {day}", f"the {day}{ending} of {name}", f"{day}{ending} {name}"])
