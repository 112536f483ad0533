"""Roles' dialogues as rows for the toolset that serves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import loragent as la
from loragent.core import ToolSchema
from loragent.tool import load_toolset, tool_rows
from loragent.tool.overheard import NO_CALL, overheard
from loragent.training import Example

WAKE = ToolSchema(name="wake", parameters={"properties": {"hour": {"type": "integer"}}, "required": ["hour"]})


def user(text: str) -> la.Message:
    return la.Message(role="user", content=text)


def says(text: str) -> la.Message:
    return la.Message(role="assistant", content=text)


def calls(name: str, trained: bool = False, **arguments: Any) -> la.Message:
    call = la.ToolCall(name=name, arguments=arguments)
    return la.Message(role="assistant", tool_calls=(call,), trained=trained)


TALK = (
    user("Wake me please"),
    says("At what time?"),
    user("six"),
    calls("wake", hour=6),
    la.Message(role="tool", name="wake", content="noted"),
    says("We'll wake you at six."),
    user("And book me a boat"),
    calls("hand_over", trained=True, to="concierge"),
)


def test_calls_are_trained_and_words_are_heard() -> None:
    whole, first, last = overheard([Example(1, TALK, {})], [WAKE])
    assert [m.trained for m in whole.messages if m.role == "assistant"] == [False, True]
    assert whole.messages[-1].tool_calls[0].arguments == {"hour": 6}
    assert [m.content for m in first.messages] == ["Wake me please", NO_CALL]
    assert [m.trained for m in last.messages if m.role == "assistant"] == [False, False, False, True]
    assert [m.content for m in last.messages][-2:] == ["And book me a boat", NO_CALL]  # to pass on is not its business


def test_a_dialogue_that_calls_none_of_the_tools_gives_nothing() -> None:
    assert overheard([Example(1, (user("hi"), says("hello")), {}), Example(2, TALK[6:], {})], [WAKE]) == []


def test_where_it_still_speaks_before_it_calls_there_is_nothing_to_call_yet() -> None:
    talk = (
        user("Wake me please"),
        says("At what time?"),
        user("six"),
        says("At six. Shall I?"),
        user("yes"),
        *TALK[3:6],
    )
    rows = overheard([Example(1, talk, {})], [WAKE])
    assert [row.messages[-2].content for row in rows[1:]] == ["Wake me please", "six", "noted"]


def test_a_set_names_the_dialogues_that_it_overhears(tmp_path: Path) -> None:
    place = tmp_path / "desk"
    place.mkdir()
    (place / "toolset.toml").write_text('dialogues = ["../talk.jsonl"]\n')
    (place / "tools.json").write_text(json.dumps([WAKE.to_wire()]))
    (place / "examples.jsonl").write_text(json.dumps({"say": "Do you sell boats?", "reply": NO_CALL}) + "\n")
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": [m.to_wire() for m in TALK]}) + "\n")
    assert len(tool_rows(load_toolset(place))) == 4
    (place / "toolset.toml").write_text('dialogues = ["../talk.jsonl"]\noverheard = 2\n')
    assert len(tool_rows(load_toolset(place))) == 3
    (place / "toolset.toml").write_text("overheard = -2\n")
    with pytest.raises(la.ToolError, match="overheard is -2"):
        load_toolset(place)


def test_data_with_its_tools_beside_it_teaches_to_read_schemas(tmp_path: Path) -> None:
    place, data = tmp_path / "reader", tmp_path / "data"
    place.mkdir()
    data.mkdir()
    (place / "toolset.toml").write_text("")
    (data / "tools.json").write_text(json.dumps([WAKE.to_wire()]))
    rows = [[user(f"wake me at {hour}"), calls("wake", trained=True, hour=hour)] for hour in range(4, 9)]
    rows.append([user("wake me at six"), calls("wake", trained=True, hour="six")])  # not valid: left out
    (data / "train.jsonl").write_text("".join(json.dumps({"messages": [m.to_wire() for m in r]}) + "\n" for r in rows))
    found = tool_rows(load_toolset(place), [data / "train.jsonl"])
    assert len(found) == 5
    assert all([tool.name for tool in row.tools] == ["wake"] for row in found)
    assert all(row.messages[1].trained for row in found)
