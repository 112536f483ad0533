"""Answers that keep to a form, whatever the model would rather say: the tiny base's weights are random."""

from __future__ import annotations

import enum
import json
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel, Field, field_validator

import loragent as la
from loragent.core import ToolSchema
from loragent.engine import Sequence, is_call_of
from loragent.engine.grammar import lark

WEATHER = ToolSchema(
    name="weather",
    description="The weather in a city.",
    parameters={
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "unit": {"enum": ["C", "F"]},
        },
        "required": ["city"],
    },
)
CLOCK = ToolSchema(name="clock", description="The time.")


def ask(base: la.Base, seed: int = 0, **fields: Any) -> la.Reply:
    request = la.GenerationRequest("how may I help?", **{"max_tokens": 200, "temperature": 1.0, "seed": seed, **fields})
    return base.generate(request)[0]


def check(call: la.ToolCall) -> None:
    assert call.name in ("weather", "clock")
    assert set(call.arguments) <= ({"city", "days", "unit"} if call.name == "weather" else set())
    if call.name == "weather":
        assert isinstance(call.arguments["city"], str)
        assert call.arguments.get("days", 1) in range(1, 8)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [62, 63, 66, 80, 120, 200])
def test_a_call_that_must_be_made_is_whole_whatever_the_budget(base: la.Base, seed: int, budget: int) -> None:
    reply = ask(base, seed, tools=[WEATHER, CLOCK], tool_choice="required", max_tokens=budget)
    assert reply.tool_calls
    assert reply.text == ""
    for call in reply.tool_calls:
        check(call)


def test_a_named_tool_is_the_one_that_is_called(base: la.Base) -> None:
    for seed in range(4):
        reply = ask(base, seed, tools=[WEATHER, CLOCK], tool_choice="clock", parallel_calls=False)
        assert [c.name for c in reply.tool_calls] == ["clock"]
        assert reply.told == ("clock",)


def test_words_stay_words_and_a_budget_too_low_for_a_call_makes_none(base: la.Base) -> None:
    for seed in range(6):
        reply = ask(base, seed, tools=[WEATHER], max_tokens=40)
        assert not reply.tool_calls
        assert "</tool_call>" not in reply.raw
    assert not ask(base, tools=[WEATHER], tool_choice="none").told


def test_rows_with_and_without_a_form_decode_together_and_draw_what_they_draw_alone(base: la.Base) -> None:
    requests = [
        la.GenerationRequest("hello", max_tokens=90, temperature=1.0, seed=n, tools=tools, tool_choice=choice)
        for n, (tools, choice) in enumerate([([WEATHER], "required"), ([], "auto"), ([CLOCK], "clock"), ([], "auto")])
    ]
    together = base.generate(requests)
    assert [r.raw for r in together] == [base.generate(r)[0].raw for r in requests]
    assert [bool(r.tool_calls) for r in together] == [True, False, True, False]


class Unit(enum.Enum):
    C = "C"
    F = "F"


class Inner(BaseModel):
    width: float
    note: str | None = None


class Outer(BaseModel):
    kind: Literal["a", "b"]
    unit: Unit
    inner: Inner
    several: list[int] = Field(default=[], max_length=3)


@pytest.mark.parametrize("seed", range(8))
def test_a_typed_result_is_of_that_type(base: la.Base, seed: int) -> None:
    reply = ask(base, seed, output=Outer, max_tokens=130)
    assert isinstance(reply.data, Outer)
    assert reply.data.model_dump(mode="json").keys() == json.loads(reply.text).keys() | {"several"}


def test_a_typed_result_may_hold_what_calls_begin_with(base: la.Base) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["<tool_call>{"]}}, "required": ["a"]}
    assert ask(base, output=schema).data == {"a": "<tool_call>{"}


def test_how_likely_a_token_was_is_told_among_those_that_its_form_allowed(base: la.Base) -> None:
    schema = {"type": "object", "properties": {"room": {"enum": ["single", "double"]}}, "required": ["room"]}
    reply = ask(base, 3, output=schema, logprobs=True)
    assert len(reply.logprobs) == len(reply.token_ids)
    assert max(reply.logprobs) == 0.0  # where there is no choice
    whole = [ask(base, seed, output=schema, logprobs=True) for seed in range(12)]
    chances = {reply.data["room"]: sum(reply.logprobs) for reply in whole}
    assert chances.keys() == {"single", "double"}
    free = ask(base, 3, max_tokens=len(reply.token_ids), logprobs=True)
    assert sum(free.logprobs) < sum(reply.logprobs)


def test_a_typed_result_beside_tools_is_either(base: la.Base) -> None:
    kinds = set()
    for seed in range(8):
        reply = ask(base, seed, output=Outer, tools=[CLOCK], max_tokens=150)
        assert (reply.data is None) == bool(reply.tool_calls)
        kinds.add(type(reply.data))
    assert Outer in kinds


class Picky(BaseModel):
    word: Literal["yes"]

    @field_validator("word")
    @classmethod
    def _never(cls, value: str) -> str:
        raise ValueError("the business says no")


def test_what_the_model_behind_a_form_refuses_is_an_error_that_says_so(base: la.Base) -> None:
    with pytest.raises(la.OutputInvalid, match=r"word: .*the business says no"):
        ask(base, output=Picky)
    assert ask(base, tools=[CLOCK], tool_choice="clock").tool_calls  # and the engine goes on


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"properties": {"a": {"type": "array", "uniqueItems": True}}}, "uniqueItems"),
        ({"properties": {"a": {"type": "integer", "minimum": 5, "maximum": 3}}, "required": ["a"]}, "minimum"),
        ({"properties": {"a": {"type": "kangaroo"}}}, "kangaroo"),
        ({"properties": {}, "required": ["b"]}, "'b'"),
    ],
)
def test_a_schema_that_no_grammar_holds_is_refused_by_name(base: la.Base, parameters: dict[str, Any], why: str) -> None:
    bad = ToolSchema(name="bad", parameters=parameters)
    with pytest.raises(la.ToolRefused, match=f"tool bad: .*{why}") as caught:
        ask(base, tools=[WEATHER, bad])
    assert caught.value.tool == "bad"


def test_arguments_come_in_any_order_and_those_that_are_required_come() -> None:
    tool = ToolSchema(
        name="t",
        parameters={
            "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"enum": ["x", "y"]}},
            "required": ["a", "b"],
        },
    )
    for arguments in (
        {"a": 1, "b": ""},
        {"b": "q", "a": 1},
        {"c": "x", "b": "q", "a": 1},
        {"b": "q", "c": "y", "a": 0},
    ):
        assert is_call_of(tool, la.ToolCall(name="t", arguments=arguments))
    for arguments in ({"a": 1}, {"c": "x"}, {"a": 1, "b": "", "d": 1}, {}, {"a": "1", "b": ""}):
        assert not is_call_of(tool, la.ToolCall(name="t", arguments=arguments))
    assert is_call_of(CLOCK, la.ToolCall(name="clock"))


@pytest.mark.parametrize(("required", "optional"), [(0, 3), (2, 2), (2, 9), (0, 12)])
def test_no_argument_comes_for_ever_and_few_come_once_at_most(required: int, optional: int) -> None:
    names = [f"a{n}" for n in range(required + optional)]
    tool = ToolSchema(
        name="t",
        parameters={"properties": {name: {"type": "integer"} for name in names}, "required": names[:required]},
    )

    def fits(written: str) -> bool:
        matcher = LLMatcher(LLTokenizer("byte"), lark((tool,), must_call=True, parallel=False), log_level=0)
        text = f'<tool_call>{{"name": "t", "arguments": {{{written}}}}}</tool_call>'.encode()
        return bool(matcher.consume_tokens(list(text))) and bool(matcher.is_accepting())

    assert fits(", ".join(f'"{name}": 1' for name in names))
    assert fits(", ".join(f'"{name}": 1' for name in reversed(names)))
    assert not fits(", ".join(f'"{name}": 1' for name in [*names, names[-1]]))
    assert not fits(", ".join(f'"{name}": 1' for name in [names[0], *names]))


def test_who_wants_a_tool_that_is_out_of_scope_says_so_and_calls_nothing() -> None:
    def fits(text: str, **how: Any) -> bool:
        form: dict[str, Any] = {"must_call": False, "parallel": True, "others": ["alarm"], **how}
        matcher = LLMatcher(LLTokenizer("byte"), lark((CLOCK,), **form), log_level=0)
        return bool(matcher.consume_tokens(list(text.encode()))) and bool(matcher.is_accepting())

    assert fits('<tool_call>{"name": "clock", "arguments": {}}</tool_call>')
    assert fits('<tool_call>{"name": "alarm"')
    assert fits("Nothing to call.")
    assert not fits('<tool_call>{"name": "alarm", "arguments": {}}</tool_call>')
    assert not fits('<tool_call>{"name": "alarm"', must_call=True)
    assert not fits('<tool_call>{"name": "alarm"', others=[])


def test_values_that_are_written_for_a_list_are_those_of_its_items() -> None:
    schema = {
        "properties": {"a": {"type": "array", "items": {"type": "string"}, "enum": ["x", "y"]}},
        "required": ["a"],
    }
    tool = ToolSchema(name="t", parameters=schema)
    assert is_call_of(tool, la.ToolCall(name="t", arguments={"a": ["y", "x"]}))
    assert not is_call_of(tool, la.ToolCall(name="t", arguments={"a": ["z"]}))
    assert not is_call_of(tool, la.ToolCall(name="t", arguments={"a": "x"}))


def test_a_way_out_is_found_beside_tools_whose_arguments_have_the_same_names(base: la.Base) -> None:
    """A name that one tool requires is optional in another: it must not be taken again and again."""
    text = {"type": "string"}
    one = ToolSchema(name="one", parameters={"properties": {"b": text, "c": text}, "required": ["b"]})
    many = {f"o{n}": text for n in range(8)}
    two = ToolSchema(name="two", parameters={"properties": {"a": text, "b": text, **many}, "required": ["a"]})
    calls = ask(base, tools=[one, two], tool_choice="two", max_tokens=90, seed=3)
    assert calls.tool_calls[-1].name == "two"
    both = base._engine.intake._grammars
    request = la.GenerationRequest("x", tools=[one, two], max_tokens=200)
    constraint = both.constraint(request)
    assert constraint is not None
    begun = both._words().tokens.tokenize_str('<tool_call>{"name": "two", "arguments": {')
    matcher = constraint._matcher.deep_copy()
    assert matcher.try_consume_tokens(begun) == len(begun)
    assert both._words().way_out(matcher, 200, ways=1, hints=constraint._hints) is not None


def test_too_few_tokens_for_what_must_be_said_is_refused_at_once(base: la.Base) -> None:
    with pytest.raises(la.GenerationError, match="max_tokens is 5"):
        ask(base, tools=[WEATHER], tool_choice="required", max_tokens=5)


NAMES = st.text(min_size=1, max_size=4)
LEAVES = st.one_of(
    st.just({"type": "string"}),
    st.just({"type": "integer"}),
    st.just({"type": "number"}),
    st.just({"type": "boolean"}),
    st.just({"type": ["string", "null"]}),
    st.just({"type": "string", "format": "date"}),
    st.just({"type": "string", "format": "email"}),
    st.builds(lambda n: {"type": "string", "minLength": n, "maxLength": n + 3}, st.integers(0, 4)),
    st.just({"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"}),
    st.builds(lambda v: {"enum": v}, st.lists(st.one_of(NAMES, st.integers(-99, 99)), min_size=1, max_size=3)),
)


def _object(fields: dict[str, Any], required: int) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields)[:required]}


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda s: {"type": "array", "items": s}, inner),
        st.builds(_object, st.dictionaries(NAMES, inner, max_size=3), st.integers(0, 3)),
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(NAMES, SCHEMAS, max_size=3), required=st.integers(0, 4), name=NAMES, seed=st.integers(0, 99)
)
def test_every_call_is_valid_against_its_schema(
    base: la.Base, fields: dict[str, Any], required: int, name: str, seed: int
) -> None:
    tool = ToolSchema(name=name, parameters=_object(fields, required))
    try:
        reply = ask(base, seed, tools=[tool], tool_choice="required", temperature=1.5, parallel_calls=False)
    except la.GenerationError as error:  # this base has a token a byte, and few places
        assert "tokens" in str(error)  # noqa: PT017
        return
    (call,) = reply.tool_calls
    assert call.name == name
    jsonschema.Draft202012Validator(tool.parameters).validate(call.arguments)


LONG = ToolSchema(
    name="a_long_one", parameters={"properties": {"text": {"type": "string", "minLength": 90}}, "required": ["text"]}
)


@pytest.mark.parametrize("seed", range(6))
def test_a_tool_whose_calls_are_too_long_is_not_called(base: la.Base, seed: int) -> None:
    for choice in ("auto", "required"):
        reply = ask(base, seed, tools=[LONG, CLOCK], tool_choice=choice, max_tokens=70)
        assert {call.name for call in reply.tool_calls} <= {"clock"}
    with pytest.raises(la.GenerationError, match=r"needs 1\d\d tokens, max_tokens is 70"):
        ask(base, seed, tools=[LONG], tool_choice="required", max_tokens=70)


@pytest.mark.parametrize("seed", range(6))
def test_an_optional_argument_is_not_begun_where_it_could_not_be_ended(base: la.Base, seed: int) -> None:
    fields = {"a": {"type": "integer"}, "long": {"type": "string", "minLength": 150}}
    tool = ToolSchema(name="tool", parameters={"properties": fields, "required": ["a"]})
    (call,) = ask(base, seed, tools=[tool], tool_choice="tool", max_tokens=110, parallel_calls=False).tool_calls
    assert "long" not in call.arguments


def test_none_forbids_calls_even_to_a_plugin_that_wants_to(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = base.template.tokenizer("<tool_call>{", add_special_tokens=False)["input_ids"]
    real = Sequence.take

    def eager(row: Sequence, token: int, logits: Any) -> None:
        real(row, wanted[min(len(row.token_ids), len(wanted) - 1)], logits)

    monkeypatch.setattr(Sequence, "token_ids", property(lambda row: row.ids[row.prompt_tokens :]), raising=False)
    monkeypatch.setattr(Sequence, "take", eager)
    reply = ask(base, tools=[CLOCK], tool_choice="none", max_tokens=40)
    assert "<tool_call>" not in reply.raw
    assert not reply.tool_calls


def test_stop_strings_do_not_cut_calls_and_typed_results(base: la.Base) -> None:
    for seed in range(4):
        assert ask(base, seed, tools=[CLOCK], tool_choice="clock", stop=('"', "{")).tool_calls
        assert ask(base, seed, output=Outer, stop=('"', "{"), max_tokens=130).data


def test_typed_rows_that_are_given_up_end_and_hold_up_nobody(base: la.Base) -> None:
    typed = la.GenerationRequest("hello", output=Outer, max_tokens=200, temperature=1.0, seed=1)
    stream = base.stream(typed)
    next(stream)
    stream.close()  # a caller that leaves
    with pytest.raises(la.GenerationTimeout):
        base.generate([typed, typed.model_copy(update={"timeout": 0.01}), typed])
    assert base.generate(la.GenerationRequest("hello", max_tokens=4))[0].usage.completion_tokens == 4
    row = base._engine.submit(typed)
    base.close()
    assert row.result(10).finish == "cancelled"
