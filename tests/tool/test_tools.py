"""Tools: what is refused when they are made, and calls that always end with something to read."""

from __future__ import annotations

import asyncio
import datetime
import enum
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

import loragent as la
from loragent.core import ToolSchema
from loragent.tool import Confirm, Toolbox


class View(enum.Enum):
    SEA = "sea"
    YARD = "yard"


class Guest(BaseModel):
    name: str
    age: int = Field(ge=18)


@la.tool
def book(
    guest: Guest,
    arrival: datetime.date,
    view: View = View.YARD,
    beds: Literal[1, 2] = 1,
    wishes: list[str] | None = None,
) -> dict[str, Any]:
    """Book a room.

    Args:
        guest: who comes.
        arrival: the first day.
    """
    assert isinstance(guest, Guest)
    assert isinstance(arrival, datetime.date)
    return {"guest": guest, "arrival": arrival, "view": view.value, "beds": beds, "wishes": wishes}


def call(tool: BaseTool | Callable[..., Any], confirm: Confirm | None = None, **arguments: Any) -> Any:
    box = Toolbox([tool], confirm)
    return box.run(la.ToolCall(name=box.schemas[0].name, arguments=arguments))


def test_types_and_docstring_become_the_schema() -> None:
    schema = ToolSchema.of(book)
    assert schema.description == "Book a room."
    assert schema.required == ("guest", "arrival")
    properties = schema.parameters["properties"]
    assert properties["arrival"] == {"description": "the first day.", "format": "date", "type": "string"}
    assert properties["beds"]["enum"] == [1, 2]
    assert "title" not in str(schema.parameters)


def test_a_call_gets_what_its_types_say_and_answers_in_json() -> None:
    result = call(book, guest={"name": "Zoë", "age": 30}, arrival="2027-04-04", view="sea")
    assert result.content == (
        '{"guest": {"name": "Zoë", "age": 30}, "arrival": "2027-04-04", "view": "sea", "beds": 1, "wishes": null}'
    )
    assert not result.error


def test_a_tool_with_a_field_called_title_keeps_it() -> None:
    @la.tool
    def note(title: str) -> str:
        "Write a note."
        return title

    assert "title" in ToolSchema.of(note).parameters["properties"]


def test_wire_forms_and_digests() -> None:
    schema = ToolSchema.of(book)
    assert ToolSchema.of(schema.to_wire()).digest == schema.digest
    mcp = {"name": "x", "description": "d", "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    one, other = ToolSchema.of(mcp), ToolSchema.of({**mcp, "description": "another"})
    assert one.digest != other.digest
    with pytest.raises(la.ToolRefused, match="is no tool"):
        ToolSchema.of({"description": "nameless"})


def untyped(city) -> str:  # type: ignore[no-untyped-def]
    "The weather."
    return str(city)


def silent(city: str) -> str:
    return city


def starred(*cities: str) -> str:
    "The weather."
    return str(cities)


@pytest.mark.parametrize(
    ("function", "why"), [(untyped, "city has no type"), (silent, "what it is for"), (starred, r"\*cities")]
)
def test_what_a_model_could_not_call_is_refused(function: Callable[..., Any], why: str) -> None:
    with pytest.raises(la.ToolRefused, match=f"tool {function.__name__}: .*{why}"):
        la.tool(function)


def test_two_tools_of_one_name_and_what_is_no_tool() -> None:
    with pytest.raises(la.ToolRefused, match="two tools"):
        Toolbox([book, book])
    with pytest.raises(la.ToolRefused, match="is no tool"):
        Toolbox([3])  # type: ignore[list-item]


def test_wrong_arguments_are_named_and_nothing_is_called() -> None:
    result = call(book, guest={"name": "Zoë", "age": 7}, arrival="tomorrow")
    assert result.error == "arguments"
    assert "guest.age" in result.content
    assert "arrival" in result.content


def test_an_error_is_read_by_the_model_and_its_traceback_kept() -> None:
    @la.tool
    def full(room: int) -> str:
        "Book a room."
        raise RuntimeError(f"room {room} is taken")

    result = call(full, room=5)
    assert result.content == "full failed: room 5 is taken"
    assert result.error == "RuntimeError"
    assert 'raise RuntimeError(f"room' in result.traceback
    assert result.as_message().role == "tool"


def test_what_raises_is_tried_again_as_often_as_said() -> None:
    tries: list[int] = []

    @la.tool(retries=2)
    def flaky() -> str:
        "Now and then."
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        return "well"

    assert call(flaky).content == "well"
    assert len(tries) == 3


def sleeper() -> str:
    "Sleeps."
    time.sleep(5)
    return ""


async def napper() -> str:
    "Sleeps as one should."
    await asyncio.sleep(5)
    return ""


async def blocker() -> str:
    "Sleeps as one should not."
    time.sleep(5)
    return ""


@pytest.mark.parametrize("function", [sleeper, napper, blocker])
def test_what_hangs_is_given_up(function: Callable[..., Any]) -> None:
    began = time.perf_counter()
    result = call(la.tool(function, timeout=0.2))
    assert result.error == "timeout"
    assert "0.2 s" in result.content
    assert time.perf_counter() - began < 2


def test_what_is_too_long_or_can_not_be_written_is_cut_or_shown() -> None:
    @la.tool(max_output=100)
    def chatty() -> str:
        "Talks."
        return "x" * 10_000_000

    @la.tool
    def strange() -> object:
        "Gives a thing."
        return {threading.Lock(): complex(1, 2)}

    assert len(call(chatty).content) < 150
    assert "10000000 characters" in call(chatty).content
    assert "(1+2j)" in call(strange).content


def test_a_person_is_asked_first() -> None:
    done: list[int] = []

    @la.tool(confirm=True)
    def pay(euros: int) -> str:
        "Pay."
        done.append(euros)
        return "paid"

    assert call(pay, euros=1).error == "not confirmed"
    assert call(pay, lambda c: c.arguments["euros"] < 10, euros=11).error == "not confirmed"
    assert call(pay, lambda c: c.arguments["euros"] < 10, euros=9).content == "paid"
    assert done == [9]


def test_async_tools_run_in_the_callers_loop() -> None:
    @la.tool
    async def where() -> str:
        "Says in which loop it runs."
        return str(id(asyncio.get_running_loop()))

    async def ask() -> tuple[str, str]:
        box = Toolbox([where])
        return (await box.arun(la.ToolCall(name="where"))).content, str(id(asyncio.get_running_loop()))

    found, here = asyncio.run(ask())
    assert found == here
    assert call(where).content != here


def test_tools_that_users_have_already(tmp_path: Any) -> None:
    theirs = StructuredTool.from_function(lambda a: a + 1, name="inc", description="Adds one.", args_schema={
        "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})  # fmt: skip
    assert call(theirs, a=1).content == "2"
    limited = la.tool(theirs, max_output=1)
    assert call(limited, a=41).content.startswith("4…")
    assert Toolbox([theirs]).run(la.ToolCall(name="dec")).content == "There is no tool dec. There are: inc."


def test_what_raises_oddly_is_a_result_too() -> None:
    @la.tool
    def at_end() -> str:
        "Looks for more."
        return str(next(iter([])))

    @la.tool
    def late() -> str:
        "Waits for somebody else."
        raise TimeoutError("the bank is slow")

    @la.tool(confirm=True)
    def pay() -> str:
        "Pay."
        return "paid"

    def nobody(_: la.ToolCall) -> bool:
        raise EOFError

    assert call(at_end).error == "RuntimeError"
    assert call(late).content == "late failed: the bank is slow"
    assert call(late).error == "TimeoutError"
    assert call(pay, nobody).error == "EOFError"


def test_a_tool_is_renamed_and_order_is_part_of_its_digest() -> None:
    assert la.tool(book, name="reserve").name == "reserve"
    fields = {"a": {"type": "string"}, "b": {"type": "string"}}
    one = ToolSchema(name="t", parameters={"properties": fields, "required": ["a"]})
    same = ToolSchema(name="t", parameters={"required": ["a"], "properties": fields})
    other = ToolSchema(name="t", parameters={"properties": dict(reversed(fields.items())), "required": ["a"]})
    assert one.digest == same.digest != other.digest
