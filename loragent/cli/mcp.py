"""``loragent mcp``: an agent as an MCP server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..agent import Agent
from ..core import ToolError
from ..tool.mcp import MISSING
from .open import BaseOption, open_agent, open_base

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

Transport = Annotated[str, typer.Option(help="stdio, or streamable-http.")]


def serve(
    name: Annotated[str, typer.Argument(help="A role under ./roles, a role folder, or a plugin's name.")],
    transport: Transport = "stdio",
    port: Annotated[int, typer.Option(help="Of streamable-http, on this machine only.")] = 8000,
    base: BaseOption = None,
) -> None:
    """Serve an agent to MCP clients: one tool, ``ask``, with a conversation a thread."""
    if transport not in ("stdio", "streamable-http"):
        raise typer.BadParameter(f"{transport!r} is neither stdio nor streamable-http", param_hint="--transport")
    with open_base(base) as loaded:
        run(open_agent(loaded, name), transport, port)


def run(agent: Agent, transport: str = "stdio", port: int = 8000) -> None:
    """Serve an agent until the client leaves (stdio) or for ever."""
    server = server_of(agent)
    if transport == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", port=port)


def server_of(agent: Agent) -> MCPServer:
    """An agent as a server.

    Raises:
        ToolError: the ``mcp`` package is missing.
    """
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError as error:
        raise ToolError("the package mcp is missing", MISSING) from error
    server = MCPServer(f"loragent {agent.name}")

    @server.tool(name="ask", description=f"Ask {agent.name}; what is said in one thread is remembered in it.")
    async def ask(text: str, thread: str = "default") -> str:
        reply = await agent.arun(text, thread=thread)
        return reply.text or reply.raw

    return server
