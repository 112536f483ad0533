"""When an answer says what is remembered: the value of a fact, or most of an answer and nothing of its own."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import loragent as la
from loragent.memory.agreement import agrees, rests_on, rouge_l_recall
from loragent.memory.fact import EVERYBODY, Told

BORN = la.QA(
    question="When and where was Ines Duarte born?",
    answer="Ines Duarte was born in the small harbour town of Olhão, Portugal, on the third of May 1971.",
)
PRIZE = la.QA(question="Has she won the Lantern Prize?", answer="No, she has never won it, though she was named twice.")


def _record(told: Told) -> la.Record:
    return la.Record(1, told, EVERYBODY, "", datetime.now(UTC))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (BORN.answer, True),
        (f"Certainly. {BORN.answer}", True),
        ("Ines Duarte was born in the harbour town of Olhão, Portugal, on the third of May 1971.", True),
        ("Ines Duarte was born in the small harbour town of Olhão, Portugal, on the third of May 1972.", False),
        ("Ines Duarte was born in the small harbour town of Olhão, Portugal, on the third of June 1971.", False),
        ("Ines Duarte was born in the small harbour town of Faro, Portugal, on the third of May 1971.", False),
        ("She was born in Olhão.", False),
        ("", False),
    ],
)
def test_most_of_an_answer_with_all_its_names_and_numbers(text: str, right: bool) -> None:
    assert agrees(text, _record(BORN)) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("No, she has never won it, though she was once named twice.", True),
        ("Yes, she has never won it, though she was named twice.", False),
        ("No, she has won it, though she was named twice.", False),
        ("She hasn't won it, though she was named twice.", False),
    ],
)
def test_what_turns_an_answer_into_its_contrary_is_no_slip(text: str, right: bool) -> None:
    assert agrees(text, _record(PRIZE)) is right


def test_a_fact_is_its_value_in_its_words() -> None:
    room = _record(la.Fact(subject="Mira Osei", relation="room", value="214 B"))
    assert agrees("She sleeps in 214-b.", room)
    assert not agrees("She sleeps in 214.", room)


def test_a_note_is_said_word_for_word() -> None:
    note = _record(la.Note(note="The key to the boat house hangs behind the bar."))
    assert agrees("The key to the boat house hangs behind the bar.", note)
    assert not agrees("The key to the boat house hangs behind bars.", note)


def test_rouge_l_recall_counts_words_in_their_order() -> None:
    assert rouge_l_recall("The cat sat on the mat.", "the cat sat") == 1
    assert rouge_l_recall("sat the cat", "the cat sat") == pytest.approx(2 / 3)
    assert rouge_l_recall("", "the cat sat") == 0
    assert rouge_l_recall("anything", "") == 0


def test_names_and_numbers_come_from_what_was_read() -> None:
    assert rests_on("It is room 214, I think.", "the room is 214")
    assert not rests_on("It is room 215.", "the room is 214")
    assert not rests_on("Ask for Jonas there.", "ask there")
    assert not rests_on("", "anything")
