"""The hotel's tools: real bookings in a real database, whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

import loragent as la
from loragent.tool import Toolbox

FOLDER = Path(__file__).parent.parent / "tools" / "hotel"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolbox:
    monkeypatch.setenv("HARBOUR_HOTEL_DB", str(tmp_path / "hotel.sqlite"))
    return Toolbox(la.load_tools(FOLDER))


def call(box: Toolbox, tool: str, /, **arguments: Any) -> Any:
    return box.run(la.ToolCall(name=tool, arguments=arguments))


STAY: dict[str, Any] = {"room_type": "suite", "arrival": "4 April", "nights": 3}


def test_the_tools_are_those_of_the_house(box: Toolbox) -> None:
    names = ["availability", "price", "book", "change_booking", "cancel_booking", "open_request", "request_state"]
    assert [schema.name for schema in box.schemas] == names


def test_a_stay_is_booked_moved_and_cancelled(box: Toolbox) -> None:
    assert call(box, "availability", **STAY).content == "suite, 4 April, 3 nights: 5 free, 210 euros a night"
    assert call(box, "book", name="Mira Osei", guests=2, **STAY).content.startswith(
        "booked for Mira Osei: suite, 4 April"
    )
    assert "4 free" in call(box, "availability", **STAY).content
    moved = call(box, "change_booking", name="mira osei", arrival="April 4th", new_arrival="2 May", new_nights=1)
    assert moved.content == "changed for mira osei: suite, 2 May, 1 night"
    assert "5 free" in call(box, "availability", **STAY).content
    assert (
        call(box, "cancel_booking", name="Mira Osei", arrival="the 2nd of May").content
        == "cancelled for Mira Osei: 2 May"
    )
    assert call(box, "cancel_booking", name="Mira Osei", arrival="2 May").error == "LookupError"


def test_what_else_of_a_booking_can_change(box: Toolbox) -> None:
    call(box, "book", name="Mira Osei", guests=2, extra="cot", **STAY)
    changed = {
        "suite, 4 April, 4 nights, a cot": {"more_nights": 1},
        "suite, 4 April, 3 nights, a cot": {"more_nights": -1},
        "family, 4 April, 3 nights, 4 guests, a cot": {"new_room_type": "family", "new_guests": 4},
        "family, 4 April, 3 nights, 5 guests, an extra bed": {"new_guests": 5, "extra": "extra bed"},
    }
    for result, change in changed.items():
        found = call(box, "change_booking", name="Mira Osei", arrival="the fourth of April", **change)
        assert found.content == f"changed for Mira Osei: {result}"
    for why, change in {
        "an extra bed doesn't fit into a double": {"new_room_type": "double"},
        "a family is for 5 guests, not 6": {"new_guests": 6},
        "a stay is 1 to 21 nights, not 0": {"more_nights": -3},
        "nothing was said to change": {},
    }.items():
        refused = call(box, "change_booking", name="Mira Osei", arrival="4 April", **change)
        assert why in refused.content
        assert refused.error
    assert "14 free" in call(box, "availability", **{**STAY, "room_type": "family"}).content


def test_an_extra_bed_costs_and_a_cot_does_not(box: Toolbox) -> None:
    bed = call(box, "book", name="Ana", guests=3, extra="extra bed", **STAY)
    assert bed.content == "booked for Ana: suite, 4 April, 3 nights, an extra bed, 235 euros a night"
    assert call(box, "book", name="Ben", guests=2, extra="cot", **STAY).content.endswith("a cot, 210 euros a night")


def test_a_file_of_before_there_were_extras_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARBOUR_HOTEL_DB", str(tmp_path / "hotel.sqlite"))
    with sqlite3.connect(tmp_path / "hotel.sqlite") as db:
        db.execute("CREATE TABLE rooms (number INTEGER PRIMARY KEY, type TEXT NOT NULL)")
        db.execute(
            "CREATE TABLE bookings (id INTEGER PRIMARY KEY, name TEXT NOT NULL, room INTEGER NOT NULL, "
            "guests INTEGER NOT NULL, arrival TEXT NOT NULL, departure TEXT NOT NULL)"
        )
    box = Toolbox(la.load_tools(FOLDER))
    assert not call(box, "book", name="Ana", guests=2, extra="cot", **STAY).error


def test_summer_costs_more(box: Toolbox) -> None:
    found = call(box, "price", room_type="double", arrival="30 June", nights=2)
    assert found.content == "double, 30 June, 2 nights: 120 euros a night, 260 in all"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"guests": 5}, "a suite is for 2 guests, not 5"),
        ({"nights": 40}, "1 to 21 nights, not 40"),
        ({"arrival": "whenever"}, "'whenever' is no day"),
        ({"arrival": "31 June"}, "'31 June' is no day"),
        ({"name": " "}, "needs a name"),
    ],
)
def test_what_the_house_refuses_leaves_nothing_behind(box: Toolbox, change: dict[str, Any], why: str) -> None:
    result = call(box, "book", **{**STAY, "name": "Tom Varga", "guests": 2, **change})
    assert why in result.content
    assert result.error
    assert "5 free" in call(box, "availability", **STAY).content


def test_two_who_want_the_last_room_get_one_booking_and_one_refusal(box: Toolbox) -> None:
    for n in range(4):
        assert not call(box, "book", name=f"Guest {n}", guests=2, **STAY).error
    results: list[Any] = []
    both = threading.Barrier(2)

    def want(name: str) -> None:
        both.wait()
        results.append(call(box, "book", name=name, guests=2, **STAY))

    threads = [threading.Thread(target=want, args=(name,)) for name in ("Ana", "Ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bool(result.error) for result in results) == [False, True]
    refused = next(result for result in results if result.error)
    assert refused.content == "book failed: no suite is free from 4 April for 3 nights"
    assert "none free" in call(box, "availability", **STAY).content


def test_who_says_yes_twice_books_once(box: Toolbox) -> None:
    call(box, "book", name="Mira Osei", guests=2, **STAY)
    again = call(box, "book", name="mira osei", guests=2, **STAY)
    assert again.content == "book failed: mira osei has a booking from 4 April already"
    assert "4 free" in call(box, "availability", **STAY).content
    assert not call(box, "book", name="Mira Osei", guests=2, **{**STAY, "arrival": "9 April"}).error
    moved = call(box, "change_booking", name="Mira Osei", arrival="9 April", new_arrival="4 April")
    assert "has a booking from 4 April already" in moved.content
    assert not call(box, "change_booking", name="Mira Osei", arrival="9 April", more_nights=1).error


def test_a_change_that_does_not_fit_changes_nothing(box: Toolbox) -> None:
    for n in range(5):
        call(box, "book", name=f"Guest {n}", guests=1, **STAY)
    call(box, "book", name="Late", guests=1, **{**STAY, "arrival": "10 April"})
    result = call(box, "change_booking", name="Late", arrival="10 April", new_arrival="5 April")
    assert "nothing was changed" in result.content
    assert not call(box, "cancel_booking", name="Late", arrival="10 April").error


def test_housekeeping_notes_what_a_room_needs(box: Toolbox) -> None:
    assert (
        call(box, "open_request", room=305, kind="repair", what="heating").content
        == "noted for room 305: repair, heating"
    )
    assert call(box, "request_state", room=305).content == "room 305: heating, open"
    assert call(box, "open_request", room=999, kind="repair", what="heating").error == "LookupError"
