"""What was said and what was made up."""

from __future__ import annotations

from typing import Any

import pytest

import loragent as la
from loragent.core import NOT_SAID
from loragent.tool import Toolbox
from loragent.tool.said import heard_in, unsaid


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        ("Mira Osei", "my name's mira osei"),
        ("4 April", "from April 4th please"),
        ("the 4th of April", "the 4th of April"),
        (3, "Three nights."),
        (21, "for 21 nights"),
        (7, "a week in May"),
        (4, "from 4 April for 4 nights"),
        (2, "my husband and I"),
        (305, "the heating in 305 won't come on"),
        (True, "whatever"),
        (None, ""),
        (["milk", "tea"], "tea and milk"),
    ],
)
def test_what_was_said(value: Any, heard: str) -> None:
    assert unsaid({"a": value}, ["a", "b"], heard) == []


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        (4, "is a room free from 4 April?"),
        (4, "from April the 4th"),
        (4, "the 4th of April"),
        ("Liam", "a family room from 4 April, three nights"),
        ("Mira Osei", "Mira"),
        (4, "Three nights."),
        ("Thursday", "from 4 April"),
        (14, "for 4 nights"),
        ({"city": "Rome"}, "to Paris"),
    ],
)
def test_what_was_made_up(value: Any, heard: str) -> None:
    assert unsaid({"a": value}, ["a"], heard) == ["a"]


def test_a_number_that_is_said_once_is_one_argument() -> None:
    both = {"nights": 4, "guests": 4}
    assert unsaid(both, both, "four of us, for three nights") == ["guests"]
    assert unsaid(both, both, "four of us, for 4 nights") == []
    assert unsaid({"nights": 3, "guests": 4}, both, "four of us, for three nights") == []


BACK = "That is a family room for four guests, arriving 14 February for three nights. Shall I confirm?"


@pytest.mark.parametrize("answer", ["yes please", "Splendid, yes.", "ok", "Go ahead", "YES!!", "yh", "yessss"])
def test_what_was_read_back_and_agreed_to_counts_as_said(answer: str) -> None:
    turns = [("user", "Valentine's, till Sunday, us and the kids"), ("assistant", BACK), ("user", answer)]
    said = heard_in([la.Message(role=role, content=text) for role, text in turns])
    call = {"arrival": "14 February", "nights": 3, "guests": 4}
    assert unsaid(call, call, said) == []


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (BACK, "no"),
        (BACK, "yes, but for five nights"),
        (BACK, "Rather the 15th"),
        (BACK, "hmm"),
        ("We have a room for three nights. May I have your name?", "Mira Osei"),
        ("That makes three nights.", "yes"),  # nobody asked
    ],
)
def test_what_was_only_read_back_does_not(asked: str, answer: str) -> None:
    said = heard_in([la.Message(role="assistant", content=asked), la.Message(role="user", content=answer)])
    assert unsaid({"nights": 3}, ["nights"], said) == ["nights"]


def test_a_call_with_a_value_that_nobody_said_is_not_made() -> None:
    made = []

    @la.tool(said=("name",))
    def book(name: str, nights: int) -> str:
        "Book a room."
        made.append((name, nights))
        return "booked"

    box = Toolbox([book])
    call = la.ToolCall(name="book", arguments={"name": "Liam", "nights": 4})
    refused = box.run(call, "a room for 3 nights please")
    assert (refused.error, refused.content) == (NOT_SAID, "book was not called: nobody has said the name.")
    assert made == []
    assert box.run(call, "I'm Liam").content == "booked"
    assert box.run(call).content == "booked"  # a caller who doesn't know what was said
