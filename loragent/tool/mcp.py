"""Tools of an MCP server (Model Context Protocol), through the official package."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from ..core import ToolError
from .define import ToolSettings, tool

MISSING = "pip install 'loragent[mcp]'"


class MCPTools(Sequence[BaseTool]):
    """The tools of one server, as a sequence that holds the connection; made by :func:`mcp_tools`."""

    def __init__(self, connection: _Connection, settings: Mapping[str, Any]) -> None:
        self._connection = connection
        self._tools = [tool(_as_langchain(found, connection), **settings) for found in connection.tools()]

    def __getitem__(self, index: Any) -> Any:
        return self._tools[index]

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[BaseTool]:
        return iter(self._tools)

    def close(self) -> None:
        """End the connection, and the server if it was started for it."""
        self._connection.close()

    def __enter__(self) -> MCPTools:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def mcp_tools(
    server: str | Sequence[str] | Any, *, env: Mapping[str, str] | None = None, connect: float = 30.0, **settings: Any
) -> MCPTools:
    """Connect to a server and bring its tools in. A server that has gone is started, or asked, again at the next call.

    Args:
        server: the command that starts one (``["python", "server.py"]``), the URL of one that runs
            (``"http://localhost:8000/mcp"``), or whatever ``mcp.Client`` takes.
        env: further environment variables for a command.
        connect: seconds that connecting, and starting it, may take.
        settings: of :class:`ToolSettings`, for all of its tools.

    Raises:
        ToolError: the ``mcp`` package is missing, or the server can't be reached.
    """
    ToolSettings(**settings)  # refuses what is wrong before anything is started
    return MCPTools(_Connection(server, dict(env or {}), connect), settings)


class _Connection:
    """A client in a loop of its own, on a thread that lives as long as the connection."""

    def __init__(self, server: Any, env: Mapping[str, str], timeout: float) -> None:
        self._server, self._env, self._timeout = server, env, timeout
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._done: asyncio.Event | None = None
        self._open()

    def tools(self) -> list[Any]:
        """All that the server lists, page by page."""

        async def pages() -> list[Any]:
            found, cursor = [], None
            while True:
                page = await self._client.list_tools(cursor=cursor)
                found += page.tools
                cursor = page.next_cursor
                if not cursor:
                    return found

        return self._wait(pages())  # type: ignore[no-any-return]

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """A tool's result.

        Raises:
            ToolError: the server is gone.
        """
        with self._lock:
            if self._client is None:
                self._open()
        try:
            return self._wait(self._client.call_tool(name, dict(arguments)), timed=False)
        except ToolException:
            raise
        except Exception as error:
            self.close()
            raise ToolError(
                f"the MCP server {self._server} did not answer ({error})", "it is asked anew next time"
            ) from error

    def close(self) -> None:
        """End the connection, if there is one."""
        loop, done, self._client = self._loop, self._done, None
        if loop is not None and done is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(done.set)

    def _open(self) -> None:
        ready: Future[Any] = Future()
        threading.Thread(target=lambda: self._serve(ready), name="loragent-mcp", daemon=True).start()
        try:
            self._client = ready.result(self._timeout)
        except Exception as error:
            self.close()
            raise ToolError(
                f"the MCP server {self._server} can't be reached ({error})", "see whether it starts"
            ) from error

    def _serve(self, ready: Future[Any]) -> None:
        try:
            asyncio.run(self._hold(ready))
        except BaseException as error:
            self._client = None
            if not ready.done():
                ready.set_exception(error)

    async def _hold(self, ready: Future[Any]) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        async with _client(self._server, self._env) as client:
            ready.set_result(client)
            await self._done.wait()

    def _wait(self, work: Any, *, timed: bool = True) -> Any:
        loop = self._loop
        if loop is None or not loop.is_running():
            work.close()
            raise ConnectionError("it is closed")
        return asyncio.run_coroutine_threadsafe(work, loop).result(self._timeout if timed else None)


def _client(server: Any, env: Mapping[str, str]) -> Any:
    try:
        import mcp
    except ImportError as error:
        raise ToolError("the package mcp is missing", MISSING) from error
    if isinstance(server, str) and server.startswith(("http://", "https://")):
        return mcp.Client(server)
    if isinstance(server, str) or (isinstance(server, Sequence) and server):
        command, *arguments = server.split() if isinstance(server, str) else server
        return mcp.Client(mcp.StdioServerParameters(command=command, args=arguments, env=dict(env)))
    return mcp.Client(server)


def _as_langchain(found: Any, connection: _Connection) -> BaseTool:
    def run(**arguments: Any) -> str:
        return _text(connection.call(found.name, arguments))

    return StructuredTool(
        name=found.name, description=found.description or found.name, args_schema=found.input_schema, func=run
    )


def _text(result: Any) -> str:
    parts = [getattr(part, "text", f"[{part.type}]") for part in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    text = "\n".join(parts)
    if result.is_error:
        raise ToolException(text)
    return text
