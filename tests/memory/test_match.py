"""Which fact a question asks for."""

from __future__ import annotations

import pytest

import loragent as la
from loragent.memory.match import named

HOUSE = [
    la.Fact(subject="Mira Osei", relation="room", value="214"),
    la.Fact(subject="Mira Osei", relation="tea", value="green"),
    la.Fact(subject="Jon Varga", relation="room", value="101"),
    la.Fact(subject="Jon Osei", relation="dog", value="Biscuit"),
]


@pytest.fixture
def house(memory: la.Memory) -> la.Memory:
    memory.remember(HOUSE)
    return memory


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Which room is Mira Osei in?", "Mira Osei, room: 214"),
        ("mira osei's room?", "Mira Osei, room: 214"),
        ("Tea of MIRA OSEI", "Mira Osei, tea: green"),
        ("room of Varga, please", "Jon Varga, room: 101"),
        ("What is Mira\u2019s tea?", "Mira Osei, tea: green"),
        ("Whose dog is Jon Osei's dog?", "Jon Osei, dog: Biscuit"),
    ],
)
def test_what_is_known_is_matched(house: la.Memory, question: str, text: str) -> None:
    match = house.match(question)
    assert match is not None
    assert match.known
    assert match.record.text == text


@pytest.mark.parametrize(
    "question",
    [
        "Which room is Mira Varga in?",  # two of whom one has the first name, the other the last
        "Which room is Mira Lindqvist in?",  # a stranger with a known first name
        "Which room is Osei in?",  # which of them?
        "When was Mira Osei born?",
        "Has Jon Varga got a dog?",
        "Which rooms are there?",
        "?",
    ],
)
def test_what_is_not_known_is_not_matched(house: la.Memory, question: str) -> None:
    match = house.match(question)
    assert match is None or not match.known


def test_a_match_keeps_to_its_scope_and_to_what_holds(memory: la.Memory) -> None:
    memory.remember(HOUSE[0], user="mira")
    assert memory.ask("Which room is Mira Osei in?", user="jon").source == "none"
    assert memory.ask("Which room is Mira Osei in?", user="mira").source == "store"
    memory.remember(la.Fact(subject="Mira Osei", relation="room", value="305"), user="mira")
    assert memory.ask("Which room is Mira Osei in?", user="mira").text == "Mira Osei's room is 305."
    memory.forget("Mira Osei")
    assert memory.ask("Which room is Mira Osei in?", user="mira").source == "none"


@pytest.mark.parametrize(
    ("question", "meant"),
    [
        ("What's my room?", "What's Jon Varga's room?"),
        ("What am I allergic to?", "What am Jon Varga allergic to?"),
        ("When do I leave?", "When do Jon Varga leave?"),
        ("Can you tell me the code, and may I go?", "Can you tell me the code, and may I go?"),
    ],
)
def test_who_asks_of_himself_is_named(question: str, meant: str) -> None:
    assert named(question, "Jon Varga") == meant


def test_small_words_of_a_name_mean_nobody(memory: la.Memory) -> None:
    memory.remember(la.Fact(subject="float in the till", relation="amount", value="150"))
    assert memory.match("What is the amount of Anna's bill?") is None
    for question in ("What is the amount of the float in the till?", "How much, I mean which amount, is in the till?"):
        assert memory.match(question) is not None


def test_what_comes_nearer_to_what_is_told_of_others_is_not_known(memory: la.Memory) -> None:
    question = "Is there a window in the bath of Mira Osei's room?"
    memory.remember(la.Fact(subject="Mira Osei", relation="room window", value="west"))
    assert known(memory, question)
    memory.remember(la.Fact(subject="Jon Varga", relation="window in the bath of the room", value="none"), user="jon")
    assert known(memory, question)  # Jon's own affair
    memory.remember(la.Fact(subject="Jon Varga", relation="window in the bath of the room", value="none"))
    assert not known(memory, question)


def test_relations_of_one_meaning_are_no_rivals(memory: la.Memory) -> None:
    question = "What is the hotel room of Mira Osei's, the hotel room?"
    memory.remember(la.Fact(subject="Mira Osei", relation="room", value="214"))
    assert known(memory, question)
    memory.remember(la.Fact(subject="Jon Varga", relation="hotel room", value="101"))  # common: both in one line
    memory.remember(la.Fact(subject="Ana Costa", relation="Room", value="305"))
    assert known(memory, question)


def test_common_ways_of_asking_bring_a_question_nearer(memory: la.Memory) -> None:
    question = "Housekeeping wants to know in what part of the house Mira Osei is staying."
    memory.remember(la.Fact(subject="Mira Osei", relation="room", value="214"))
    memory.remember(la.Fact(subject="Jon Varga", relation="zone", value="214"))
    assert known(memory, question)
    assert not known(memory, question.replace("Mira Osei", "Jon Varga"))


def known(memory: la.Memory, question: str) -> bool:
    match = memory.match(question, user="mira")
    return match is not None and match.known
