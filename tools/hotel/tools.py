"""The Harbour Hotel's desk: rooms, bookings and housekeeping in one SQLite file.

What is written is one transaction or nothing. The file is $HARBOUR_HOTEL_DB, or in memory.
"""

from __future__ import annotations

import datetime
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import loragent as la

RoomType = Literal["single", "double", "family", "suite"]
Extra = Literal["cot", "extra bed"]
Kind = Literal["supplies", "cleaning", "repair", "laundry", "lost"]
RATES = {"single": 85, "double": 120, "family": 165, "suite": 210}  # euros a night, breakfast included
SLEEPS = {"single": 1, "double": 2, "family": 4, "suite": 2}
BEDS = ("family", "suite")  # room for an extra bed
EXTRA_BED = 25  # euros a night; a cot is free
SUMMER = (7, 8)  # months in which every rate is higher
SUMMER_MORE = 20
LONGEST = 21
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
            "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
            "twentieth")  # fmt: skip
ROOMS = {
    **dict.fromkeys(range(101, 119), "single"),
    **dict.fromkeys(range(201, 225), "double"),
    **dict.fromkeys(range(301, 316), "family"),
    **dict.fromkeys(range(316, 321), "suite"),
}
SCHEMA = """
CREATE TABLE IF NOT EXISTS rooms (number INTEGER PRIMARY KEY, type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS bookings (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, room INTEGER NOT NULL REFERENCES rooms, guests INTEGER NOT NULL,
  arrival TEXT NOT NULL, departure TEXT NOT NULL CHECK (departure > arrival), extra TEXT
);
CREATE TABLE IF NOT EXISTS requests (
  id INTEGER PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms, kind TEXT NOT NULL, what TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'open'
);
"""


class Hotel:
    """The house's records; safe to use from any thread, and from several processes on one file."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, timeout=20, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(SCHEMA)
        with self.writing() as db:
            if "extra" not in [name for _, name, *_ in db.execute("PRAGMA table_info(bookings)")]:  # an older file
                db.execute("ALTER TABLE bookings ADD COLUMN extra TEXT")
            db.executemany("INSERT OR IGNORE INTO rooms VALUES (?, ?)", ROOMS.items())

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody writes beside; an error undoes all of it."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[tuple]:
        """What a query finds."""
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def free(self, kind: str, arrival: datetime.date, nights: int, but: int = 0) -> list[int]:
        """Rooms of a type that nobody has in those nights; the booking ``but`` is not counted."""
        departure = arrival + datetime.timedelta(nights)
        found = self.rows(
            "SELECT number FROM rooms WHERE type = ? AND number NOT IN "
            "(SELECT room FROM bookings WHERE arrival < ? AND departure > ? AND id != ?) ORDER BY number",
            kind, departure.isoformat(), arrival.isoformat(), but,
        )  # fmt: skip
        return [number for (number,) in found]


HOTEL = Hotel(os.environ.get("HARBOUR_HOTEL_DB", ":memory:"))


@la.tool(said=("arrival", "nights"))
def availability(room_type: RoomType, arrival: str, nights: int) -> str:
    """Whether a room of a type is free.

    Args:
        room_type: what kind of room.
        arrival: the day of arrival, as the guest says it.
        nights: how many.
    """
    day = _day(arrival)
    left = len(HOTEL.free(room_type, day, _nights(nights)))
    state = f"{left} free" if left else "none free"
    return f"{_stay(room_type, day, nights)}: {state}, {_rate(room_type, day)} euros a night"


@la.tool(said=("arrival", "nights"))
def price(room_type: RoomType, arrival: str, nights: int) -> str:
    """What a stay costs.

    Args:
        room_type: what kind of room.
        arrival: the day of arrival, as the guest says it.
        nights: how many.
    """
    day = _day(arrival)
    total = sum(_rate(room_type, _after(day, n)) for n in range(_nights(nights)))
    return (
        f"{room_type}, {_said(day)}, {_count(nights, 'night')}: {_rate(room_type, day)} euros a night, {total} in all"
    )


@la.tool(said=("name", "arrival", "nights", "guests"))
def book(name: str, room_type: RoomType, arrival: str, nights: int, guests: int, extra: Extra | None = None) -> str:
    """Book a room.

    Args:
        name: of the guest.
        room_type: what kind of room.
        arrival: the day of arrival, as the guest says it.
        nights: how many.
        guests: how many people.
        extra: what else is wanted in it.
    """
    day = _day(arrival)
    departure = _after(day, _nights(nights))
    _fits(room_type, guests, extra)
    with HOTEL.writing() as db:
        _only_one(name, day)
        free = HOTEL.free(room_type, day, nights)
        if not free:
            raise LookupError(f"no {room_type} is free from {_said(day)} for {_count(nights, 'night')}")
        db.execute(
            "INSERT INTO bookings (name, room, guests, arrival, departure, extra) VALUES (?, ?, ?, ?, ?, ?)",
            (_name(name), free[0], guests, day.isoformat(), departure.isoformat(), extra),
        )
    rate = _rate(room_type, day) + (EXTRA_BED if extra == "extra bed" else 0)
    return f"booked for {name}: {_stay(room_type, day, nights)}{_with(extra)}, {rate} euros a night"


@la.tool(said=("name", "arrival", "new_arrival", "new_nights", "new_guests"))
def change_booking(
    name: str,
    arrival: str,
    new_arrival: str | None = None,
    new_nights: int | None = None,
    more_nights: int | None = None,
    new_room_type: RoomType | None = None,
    new_guests: int | None = None,
    extra: Extra | None = None,
) -> str:
    """Change a booking.

    Args:
        name: of the guest.
        arrival: the day of arrival as it is booked.
        new_arrival: the new day, if it changes.
        new_nights: the new number of nights, if it changes.
        more_nights: how many nights longer; shorter, if below 0.
        new_room_type: the new kind of room, if it changes.
        new_guests: how many people now, if that changes.
        extra: what else is wanted in the room.
    """
    if all(v is None for v in (new_arrival, new_nights, more_nights, new_room_type, new_guests, extra)):
        raise ValueError("nothing was said to change: the day, the nights, the room, the guests or an extra")
    with HOTEL.writing() as db:
        booked = _booking(name, arrival)
        nights = _nights((new_nights or booked.nights) + (more_nights or 0))
        day = _day(new_arrival) if new_arrival else booked.day
        kind = new_room_type or ROOMS[booked.room]
        guests, extra = new_guests or booked.guests, extra or booked.extra
        _fits(kind, guests, extra)
        _only_one(name, day, but=booked.number)
        free = HOTEL.free(kind, day, nights, but=booked.number)
        if not free:
            raise LookupError(f"no {kind} is free from {_said(day)} for {_count(nights, 'night')}; nothing was changed")
        room = booked.room if booked.room in free else free[0]
        db.execute(
            "UPDATE bookings SET room = ?, guests = ?, arrival = ?, departure = ?, extra = ? WHERE id = ?",
            (room, guests, day.isoformat(), _after(day, nights).isoformat(), extra, booked.number),
        )
    people = f", {_count(guests, 'guest')}" if new_guests else ""
    return f"changed for {name}: {_stay(kind, day, nights)}{people}{_with(extra)}"


@la.tool(said=("name", "arrival"))
def cancel_booking(name: str, arrival: str) -> str:
    """Cancel a booking.

    Args:
        name: of the guest.
        arrival: the day of arrival as it is booked.
    """
    with HOTEL.writing() as db:
        booked = _booking(name, arrival)
        db.execute("DELETE FROM bookings WHERE id = ?", (booked.number,))
    return f"cancelled for {name}: {_said(booked.day)}"


@la.tool(said=("room",))
def open_request(room: int, kind: Kind, what: str) -> str:
    """Tell housekeeping what a room needs.

    Args:
        room: its number.
        kind: what it is about.
        what: what is needed, in a few words.
    """
    _known(room)
    with HOTEL.writing() as db:
        db.execute("INSERT INTO requests (room, kind, what) VALUES (?, ?, ?)", (room, kind, what))
    return f"noted for room {room}: {kind}, {what}"


@la.tool(said=("room",))
def request_state(room: int) -> str:
    """How far what a room asked for has come.

    Args:
        room: its number.
    """
    _known(room)
    found = HOTEL.rows("SELECT what, state FROM requests WHERE room = ? ORDER BY id DESC LIMIT 3", room)
    return f"room {room}: {'; '.join(f'{what}, {state}' for what, state in found) or 'nothing was asked for'}"


def _known(room: int) -> None:
    if room not in ROOMS:
        raise LookupError(f"there is no room {room}")


class Booked(NamedTuple):
    """What stands in the book."""

    number: int
    room: int
    guests: int
    day: datetime.date
    nights: int
    extra: Extra | None


def _bookings(name: str, day: datetime.date) -> list[tuple]:
    return HOTEL.rows(
        "SELECT id, room, guests, departure, extra FROM bookings WHERE lower(name) = lower(?) AND arrival = ?",
        _name(name), day.isoformat(),
    )  # fmt: skip


def _only_one(name: str, day: datetime.date, but: int = 0) -> None:
    """Name and day are how a booking is found again, so no two have the same; and who says yes twice books once."""
    if any(number != but for number, *_ in _bookings(name, day)):
        raise LookupError(f"{name} has a booking from {_said(day)} already")


def _booking(name: str, arrival: str) -> Booked:
    day = _day(arrival)
    found = _bookings(name, day)
    if not found:
        raise LookupError(f"there is no booking for {name} from {_said(day)}")
    number, room, guests, departure, extra = found[0]
    return Booked(number, room, guests, day, (datetime.date.fromisoformat(departure) - day).days, extra)


def _fits(kind: str, guests: int, extra: str | None) -> None:
    """Whether so many guests, and what they want besides, go into a kind of room."""
    if extra == "extra bed" and kind not in BEDS:
        raise ValueError(f"an extra bed doesn't fit into a {kind}")
    sleeps = SLEEPS[kind] + (extra == "extra bed")
    if not 0 < guests <= sleeps:
        raise ValueError(f"a {kind} is for {_count(sleeps, 'guest')}, not {guests}")


def _day(text: str) -> datetime.date:
    """A day as people say it ("the 4th of April", "April 4", "tomorrow") or in ISO; without a year, the next one."""
    today = datetime.date.today()
    words = text.lower().replace(",", " ").replace("the ", " ").replace(" of ", " ").split()
    if text.strip().lower() in ("today", "tonight"):
        return today
    if text.strip().lower() == "tomorrow":
        return today + datetime.timedelta(1)
    try:
        return datetime.date.fromisoformat(text.strip())
    except ValueError:
        pass
    months = [
        n for n, month in enumerate(MONTHS, 1) for word in words if len(word) > 2 and month.lower().startswith(word)
    ]
    words = [str(ORDINALS.index(word) + 1) if word in ORDINALS else word for word in words]
    numbers = [int(digits) for word in words if (digits := word.rstrip("stndrh."))[:1].isdigit() and digits.isdigit()]
    try:
        year = next((n for n in numbers if n > 31), today.year)
        day = datetime.date(year, months[0], next(n for n in numbers if n <= 31))
    except (IndexError, StopIteration, ValueError):
        raise ValueError(f"{text!r} is no day; say it like 4 April") from None
    return day if day >= today or year != today.year else day.replace(year=year + 1)


def _nights(nights: int) -> int:
    if not 0 < nights <= LONGEST:
        raise ValueError(f"a stay is 1 to {LONGEST} nights, not {nights}")
    return nights


def _name(name: str) -> str:
    if not name.strip():
        raise ValueError("a booking needs a name")
    return " ".join(name.split())


def _rate(kind: str, day: datetime.date) -> int:
    return RATES[kind] + (SUMMER_MORE if day.month in SUMMER else 0)


def _stay(kind: str, day: datetime.date, nights: int) -> str:
    return f"{kind}, {_said(day)}, {_count(nights, 'night')}"


def _with(extra: str | None) -> str:
    return f", {'an' if extra == 'extra bed' else 'a'} {extra}" if extra else ""


def _after(day: datetime.date, nights: int) -> datetime.date:
    return day + datetime.timedelta(nights)


def _said(day: datetime.date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
