"""Tools of an MCP server (Model Context Protocol), through the official package."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        try:
            self._tools = [tool(_as_langchain(found, connection), **settings) for found in connection.tools()]
        except BaseException:
            connection.close()
            raise

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
    """A server, and the link to it while there is one."""

    def __init__(self, server: Any, env: Mapping[str, str], timeout: float) -> None:
        self._server, self._env, self._timeout = server, env, timeout
        self._lock = threading.Lock()
        self._link: _Link | None = None
        self._linked()

    def tools(self) -> list[Any]:
        """All that the server lists, page by page.

        Raises:
            ToolError: it lists none.
        """
        link = self._linked()

        async def pages() -> list[Any]:
            found, cursor = [], None
            while True:
                page = await link.client.list_tools(cursor=cursor)
                found += page.tools
                cursor = page.next_cursor
                if not cursor:
                    return found

        try:
            return link.run(pages(), self._timeout)  # type: ignore[no-any-return]
        except Exception as error:
            self.close()
            raise ToolError(f"the MCP server {self._server} lists no tools ({error!r})", "see what it says") from error

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """A tool's result.

        Raises:
            ToolException: the server refuses the call.
            ToolError: the server is gone.
        """
        link = self._linked()
        try:
            return link.run(link.client.call_tool(name, dict(arguments)))
        except Exception as error:
            if link.alive and not link.lost(error):
                raise ToolException(str(error)) from error
            with self._lock:
                self._link = None if self._link is link else self._link
            link.close()
            what = f"the MCP server {self._server} did not answer ({error!r})"
            raise ToolError(what, "it is asked anew next time") from error

    def close(self) -> None:
        """End the connection, if there is one."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    def _linked(self) -> _Link:
        with self._lock:
            if self._link is None or not self._link.alive:
                link = _Link()
                try:
                    link.open(lambda: _client(self._server, self._env), self._timeout)
                except Exception as error:
                    link.close()
                    what = f"the MCP server {self._server} can't be reached ({error!r})"
                    raise ToolError(what, "see whether it starts") from error
                self._link = link
            return self._link


class _Link:
    """A client in a loop of its own, on a thread that lives as long as the link.

    Attributes:
        client: once it is open.
    """

    def __init__(self) -> None:
        self.client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: asyncio.Event | None = None

    @property
    def alive(self) -> bool:
        """Whether its loop runs."""
        return self._loop is not None and self._loop.is_running()

    @staticmethod
    def lost(error: Exception) -> bool:
        """Whether an error is that the server is gone, rather than what it says."""
        import mcp

        return not isinstance(error, mcp.MCPError) or "closed" in str(error).lower()

    def open(self, client: Callable[[], Any], timeout: float) -> None:
        """Connect, within so many seconds."""
        ready: Future[Any] = Future()
        threading.Thread(target=lambda: self._serve(client, ready), name="loragent-mcp", daemon=True).start()
        self.client = ready.result(timeout)

    def run(self, work: Any, timeout: float | None = None) -> Any:
        """What work in the loop gives, within so many seconds."""
        loop = self._loop
        if loop is None or not loop.is_running():
            work.close()
            raise ConnectionError("it is closed")
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout)

    def close(self) -> None:
        """Disconnect; a server that was started for the link ends."""
        if self._loop is not None and self._done is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._done.set)

    def _serve(self, client: Callable[[], Any], ready: Future[Any]) -> None:
        try:
            asyncio.run(self._hold(client, ready))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)

    async def _hold(self, client: Callable[[], Any], ready: Future[Any]) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        async with client() as connected:
            ready.set_result(connected)
            await self._done.wait()


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
