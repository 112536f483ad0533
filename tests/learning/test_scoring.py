"""The one scorer."""

from __future__ import annotations

import loragent as la
from loragent.learning import TurnScore, nearest_reply, normalise, rates, score_turn, similarity

REPLIES = {
    "ask_name": "Could you give me your name, please?",
    "ask_day": "What day would you like?",
    "bye": "Thank you and goodbye.",
    "done": "Your room at the {Name} is booked.",
}


def reply(text: str) -> la.Message:
    return la.Message(role="assistant", content=text)


def call(tool: str, **arguments: object) -> la.Message:
    return la.Message(role="assistant", tool_calls=(la.ToolCall(name=tool, arguments=arguments),))


def test_normalising_and_similarity() -> None:
    assert normalise("  Hello, how_may I\nhelp?! ") == "hello how may i help"
    assert similarity("Hello!", "hello") == 1.0
    assert similarity("", "...") == 1.0
    assert similarity("abc", "xyz") == 0.0


def test_the_nearest_template_ignores_placeholders() -> None:
    assert nearest_reply("your room at the Shadyside Inn is booked", REPLIES) == "done"


def test_a_reply_needs_the_label_and_the_similarity() -> None:
    right = score_turn(
        "Could you give me your name?", (), reply(REPLIES["ask_name"]), label="ask_name", replies=REPLIES
    )
    assert (right.match, right.action, right.call_exact) == (True, True, None)
    # like the reference, but nearer to another action's template
    wrong = score_turn("Could you give me your name, please?", (), reply("Could you give me a name please?"),
                       label="ask_day", replies=REPLIES)  # fmt: skip
    assert (wrong.match, wrong.action) == (True, False)
    # the right template, but the reference said something else
    other = score_turn("What day would you like?", (), reply("zzz"), label="ask_day", replies=REPLIES)
    assert other.action is False


def test_an_unlabelled_or_custom_reply_needs_similarity_alone() -> None:
    for label in (None, "custom"):
        assert score_turn("See you then.", (), reply("See you then!"), label=label, replies=REPLIES).action


def test_calls() -> None:
    wanted = call("book", name="Mira", nights=2)
    exact = score_turn("", wanted.tool_calls, wanted, label="query:book", replies=REPLIES)
    assert (exact.match, exact.call_exact, exact.action) == (True, True, True)
    near = score_turn("", call("book", name="Mira", nights=3).tool_calls, wanted, replies=REPLIES)
    assert (near.match, near.call_exact, near.action) == (True, False, True)
    assert not score_turn("", call("cancel").tool_calls, wanted, replies=REPLIES).action
    assert not score_turn("I booked it.", (), wanted, replies=REPLIES).match
    assert score_turn("I booked it.", (), wanted).call_exact is False


def test_a_call_in_place_of_a_reply_is_wrong() -> None:
    assert not score_turn("", call("book").tool_calls, reply("What day?"), label="ask_day", replies=REPLIES).action


def test_actions_are_not_scored_without_templates() -> None:
    assert score_turn("x", (), reply("x")).action is None


def test_rates_leave_out_turns_without_that_mark() -> None:
    marks = [TurnScore(True, None, True), TurnScore(True, False, None), TurnScore(False, True, None)]
    assert rates(marks) == {"reply_match": 2 / 3, "call_exact": 0.5, "action": 1.0}
    assert rates([]) == {"reply_match": None, "call_exact": None, "action": None}
