"""MCP, against a real server in a process of its own."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import mcp
import pytest

import loragent as la
from loragent.cli.mcp import server_of
from loragent.tool import Toolbox

SERVER = '''
import os
from typing import Literal
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("port")

@server.tool()
def depth(pier: Literal["north", "south"], metres: bool = True) -> float:
    """How deep the water is at a pier."""
    return 4.5 if pier == "north" else 7.25

@server.tool()
def fails() -> str:
    """Always fails."""
    raise ToolError("the tide is out")

@server.tool()
def dies() -> str:
    """Takes the server down."""
    os._exit(3)

server.run("stdio")
'''


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    path = tmp_path / "server.py"
    path.write_text(textwrap.dedent(SERVER))
    return [sys.executable, str(path)]


@pytest.fixture
def box(command: list[str]) -> Iterator[Toolbox]:
    with la.mcp_tools(command) as tools:
        yield Toolbox(tools)


def test_a_servers_tools_are_an_agents(box: Toolbox) -> None:
    assert [s.name for s in box.schemas] == ["depth", "fails", "dies"]
    depth = box.schemas[0]
    assert depth.description == "How deep the water is at a pier."
    assert depth.required == ("pier",)
    assert "4.5" in box.run(la.ToolCall(name="depth", arguments={"pier": "north"})).content


def test_what_fails_there_is_read_here(box: Toolbox) -> None:
    result = box.run(la.ToolCall(name="fails"))
    assert "the tide is out" in result.content
    assert result.error


def test_a_server_that_dies_in_a_call_is_an_error_and_is_there_for_the_next(box: Toolbox) -> None:
    result = box.run(la.ToolCall(name="dies"))
    assert result.error == "ToolError"
    assert "did not answer" in result.content
    assert "7.25" in box.run(la.ToolCall(name="depth", arguments={"pier": "south"})).content


def test_a_server_that_can_not_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(la.ToolError, match="can't be reached"):
        la.mcp_tools([sys.executable, str(tmp_path / "none.py")], connect=20)


def test_a_grammar_holds_a_servers_schemas(base: la.Base, box: Toolbox) -> None:
    request = la.GenerationRequest(
        "How deep is it?", tools=box.schemas, tool_choice="depth", temperature=1.0, seed=3, max_tokens=120
    )
    (call, *_) = base.generate(request)[0].tool_calls
    assert call.arguments["pier"] in ("north", "south")


def test_an_agent_is_a_server(base: la.Base) -> None:
    agent = la.Agent("clerk", base=base, max_tokens=8)

    async def ask() -> str:
        async with mcp.Client(server_of(agent)) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["ask"]
            result = await client.call_tool("ask", {"text": "hello", "thread": "a"})
            return "".join(part.text for part in result.content if isinstance(part, mcp.types.TextContent))

    answer = asyncio.run(ask())
    assert [m.role for m in agent.history("a")] == ["user", "assistant"]
    assert answer in agent.history("a")[1].content
