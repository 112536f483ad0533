"""Sets of tools: their folders, examples that become rows, and plugins that have learnt them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import loragent as la
from loragent.core import ToolSchema, ordered
from loragent.plugin import Manifest
from loragent.tool import load_tools, load_toolset, plugin_for, tool_rows
from loragent.tool.catalogue import NO_TOOL, and_without, catalogue_rows, read_catalogue
from loragent.tool.values import KINDS, value_for
from loragent.training import Example
from tests.conftest import MakePlugin

TOOLS = """
from typing import Literal
import loragent as la

@la.tool
def availability(room: Literal["single", "double_room"], arrival: str, nights: int = 1) -> str:
    "Free rooms."
    return f"{room} is free from {arrival}"

@la.tool
def wake(hour: int) -> str:
    "Wake a guest."
    return "noted"
"""
EXAMPLES: list[dict[str, Any]] = [
    {
        "say": ["a {room} from {day} for {nights} nights", "Is a {room} free on {day}, for {nights}?"],
        "call": {"name": "availability", "arguments": {"nights": "{nights}", "room": "{room}", "arrival": "{day}"}},
    },
    {"say": "Wake me at {hour}", "call": {"name": "wake", "arguments": {"hour": "{hour}"}}},
    {"say": "Do you sell boats?", "reply": "No, we don't."},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "hotel"
    place.mkdir()
    (place / "toolset.toml").write_text("copies = 12\n[values]\nhour = {min = 5, max = 9}\n[training]\nrank = 2\n")
    (place / "tools.py").write_text(TOOLS)
    write(place / "examples.jsonl", EXAMPLES)
    answer = {"role": "assistant", "tool_calls": [{"name": "wake", "arguments": {"hour": 6}}]}
    held = [{"messages": [{"role": "user", "content": "Wake me at 6"}, answer]}]
    write(place / "eval.jsonl", held)
    return place


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_examples_become_rows_with_typed_values(folder: Path) -> None:
    toolset = load_toolset(folder)
    rows = tool_rows(toolset)
    assert rows == tool_rows(toolset)  # the same every time
    calls = [r.messages[1].tool_calls[0] for r in rows if r.messages[1].tool_calls]
    rooms = [c for c in calls if c.name == "availability"]
    assert {c.arguments["room"] for c in rooms} == {"single", "double_room"}
    assert all(isinstance(c.arguments["nights"], int) for c in rooms)
    assert {c.arguments["hour"] for c in calls if c.name == "wake"} <= set(range(5, 10))
    for row in rows:
        for call in row.messages[1].tool_calls:
            if call.name == "availability":
                assert call.arguments["arrival"] in row.messages[0].content
    assert [r.messages[1].content for r in rows if not r.messages[1].tool_calls] == ["No, we don't."]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"say": "hi"}, "call or reply"),
        ({"say": "x", "call": {"name": "fly", "arguments": {}}}, "no tool fly"),
        ({"say": "x", "call": {"name": "wake", "arguments": {"hour": "six"}}}, "not valid against the schema of wake"),
        ({"say": "for {somebody}", "reply": "Well."}, r"nothing to fill \{somebody\} with"),
    ],
)
def test_a_bad_example_is_named_by_its_line(folder: Path, row: dict[str, Any], why: str) -> None:
    write(folder / "examples.jsonl", [EXAMPLES[1], row])
    with pytest.raises(la.DataError, match=rf"examples.jsonl:2: .*{why}"):
        tool_rows(load_toolset(folder))


def test_a_folder_that_is_no_set_of_tools(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(la.ToolError, match=r"no toolset\.toml"):
        load_toolset(tmp_path / "none")
    (folder / "toolset.toml").write_text("colour = 3")
    with pytest.raises(la.ToolError, match="unknown field colour"):
        load_toolset(folder)
    (folder / "toolset.toml").write_text("copies = 0")
    with pytest.raises(la.ToolError, match=r"copies is 0: .* greater than 0"):
        load_toolset(folder)
    (folder / "tools.py").write_text("import nothing_of_that_name")
    with pytest.raises(la.ToolError, match="nothing_of_that_name"):
        load_tools(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_value_is_said_and_given(kind: str) -> None:
    for seed in range(50):
        found = value_for(kind, {}, random.Random(seed))
        assert found is not None
        assert all(found)


def made_of(wire: dict[str, Any]) -> la.ToolCall:
    return la.ToolCall(name=wire["function"]["name"], arguments={"a": ""})


def pairs(messages: Sequence[la.Message]) -> Iterator[tuple[la.Message, la.Message]]:
    return zip(messages[::2], messages[1::2], strict=True)


CATALOGUE = [
    {
        "tool": {
            "name": f"tool_{n}",
            "description": "Does something.",
            "parameters": {"properties": {"b": {"type": "integer"}, "a": {"type": "string"}}, "required": ["a"]},
        },
        "requests": [{"say": f"do {n} with x{k}", "arguments": {"a": f"x{k}"}} for k in range(4)],
        "near": [f"undo {n}"],
    }
    for n in range(6)
]


def test_a_catalogue_tells_of_its_tools_and_of_others(tmp_path: Path) -> None:
    write(tmp_path / "catalogue.jsonl", CATALOGUE)
    entries = read_catalogue(tmp_path / "catalogue.jsonl")
    rows = catalogue_rows(entries)
    turns = [(row, asked, said) for row in rows for asked, said in pairs(row.messages)]
    for row, asked, said in turns:
        shown = {tool.name for tool in row.tools}
        assert {call.name for call in said.tool_calls} <= shown
        assert bool(said.tool_calls) != (said.content == NO_TOOL)
        assert all(call.arguments["a"] in asked.content for call in said.tool_calls)
        assert 1 <= len(shown) <= 4
    made = [call.to_json() for _, _, said in turns for call in said.tool_calls]
    assert len(made) == len(set(made)) == 24  # each request once
    refused = [asked.content for _, asked, said in turns if not said.tool_calls]
    assert {f"undo {n}" for n in range(6)} <= set(refused)
    assert any(text.startswith("do") for text in refused)  # of a tool that is not there
    assert any(len(said.tool_calls) == 2 for _, _, said in turns)
    one, other = entries[0].tool.to_wire(), entries[1].tool.to_wire()
    asked = (la.Message(role="user", content="do 0"), la.Message(role="assistant", tool_calls=(made_of(one),)))
    more = and_without([Example(1, asked, {"tools": [one, other]})] * 40)
    assert 45 < len(more) < 60
    assert {row.messages[1].content for row in more if len(row.tools) == 1} == {NO_TOOL}
    CATALOGUE[0]["requests"][0]["arguments"] = {"b": "x"}  # type: ignore[index]
    write(tmp_path / "catalogue.jsonl", CATALOGUE)
    with pytest.raises(la.DataError, match=r"catalogue.jsonl:1: .*no arguments of tool_0"):
        read_catalogue(tmp_path / "catalogue.jsonl")


def test_objects_in_arguments_are_put_in_their_schemas_order() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}}
    tool = ToolSchema(
        name="t", parameters={"properties": {"p": {"type": "array", "items": inner}, "q": {"type": "string"}}}
    )
    call = la.ToolCall(name="t", arguments={"q": "", "p": [{"y": 1, "x": 2}], "z": 0})
    (found,) = ordered([la.Message(role="assistant", tool_calls=(call,))], {"t": tool})
    assert found.tool_calls[0].to_json() == '{"name": "t", "arguments": {"q": "", "p": [{"x": 2, "y": 1}], "z": 0}}'


def test_what_a_plugin_has_learnt_is_not_told_again(base: la.Base, folder: Path, make_plugin: MakePlugin) -> None:
    schemas = load_toolset(folder).schemas
    learnt = {tool.name: tool.digest for tool in schemas}
    base.library.publish(
        make_plugin("hotel-tools"), Manifest(name="hotel-tools", kind="tool", base=base.fingerprint, tools=learnt)
    )
    request = la.GenerationRequest("hi", ["hotel-tools"], tools=schemas, max_tokens=64)
    bare = la.GenerationRequest("hi", tools=schemas, max_tokens=64)
    plain = la.GenerationRequest("hi", ["hotel-tools"], max_tokens=64)
    assert base.told(request) == ()
    assert base.told(bare) == schemas
    assert base.count_tokens(request) == base.count_tokens(plain) < base.count_tokens(bare)


def test_an_agent_takes_the_plugin_that_fits_and_says_so_where_none_does(
    base: la.Base, folder: Path, make_plugin: MakePlugin
) -> None:
    tools = load_tools(folder)
    learnt = {tool.name: tool.digest for tool in load_toolset(folder).schemas}
    assert la.Agent("a", base=base, tools=tools).stack == ()
    for name, taught in (("hotel-tools", learnt), ("calling", {})):
        manifest = Manifest(name=name, kind="tool", base=base.fingerprint, tools=taught)
        base.library.publish(make_plugin(name), manifest)
    assert [use.plugin for use in la.Agent("a", base=base, tools=tools).stack] == ["hotel-tools"]
    assert [use.plugin for use in la.Agent("a", base=base, tools=tools[:1]).stack] == ["hotel-tools"]
    assert la.Agent("a", base=base, tools=tools, toolset=None).stack == ()

    @la.tool
    def wake(hour: int, gently: bool = True) -> str:
        "Wake a guest."
        return "noted"

    with pytest.warns(UserWarning, match="wake changed since hotel-tools@1 was trained: calling@1 reads their schemas"):
        agent = la.Agent("a", base=base, tools=[tools[0], wake])
    assert [use.plugin for use in agent.stack] == ["calling"]
    foreign = [p for p in base.library.list() if p.manifest.base != "another"]
    assert plugin_for(load_toolset(folder).schemas, foreign, "another").plugin is None


def test_a_set_is_trained_and_published_with_what_it_learnt(base: la.Base, folder: Path) -> None:
    report = la.train_tools(folder, base=base, force=True, settings={"layers": 2, "epochs": 1, "start": "none"})
    assert report.plugin is not None
    assert report.plugin.manifest.kind == "tool"
    assert set(report.plugin.manifest.tools) == {"availability", "wake"}
    assert report.after.call_exact is not None
    assert base.library.resolve("hotel").version == 1
