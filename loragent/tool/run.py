"""Calls of tools: checked, timed, tried again, cut, and always answered with something that a model can read."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ValidationError

from ..core import NOT_SAID, ToolCall, ToolRefused, ToolResult, ToolSchema, tool_schemas
from .define import ToolSettings, settings_of, tool
from .said import unsaid

Confirm = Callable[[ToolCall], bool]


class Toolbox:
    """An agent's tools.

    Args:
        tools: langchain tools, or typed functions, which :func:`tool` makes tools of.
        confirm: asks a person about a call of a tool with ``confirm=True``; without it such calls are refused.

    Raises:
        ToolRefused: something is no tool, or two have the same name.
    """

    def __init__(self, tools: Sequence[BaseTool | Callable[..., Any]] = (), confirm: Confirm | None = None) -> None:
        made = [item if isinstance(item, BaseTool) else _made(item) for item in tools]
        self.schemas: tuple[ToolSchema, ...] = tool_schemas(made)
        self._tools = {item.name: item for item in made}
        self._confirm = confirm

    def __bool__(self) -> bool:
        return bool(self._tools)

    def run(self, call: ToolCall, heard: str | None = None) -> ToolResult:
        """Make a call. What goes wrong is in the result; nothing is raised.

        Args:
            heard: what the user said, where that is known; see :class:`ToolSettings`.
        """
        # On a thread, since the caller's may have a loop that runs.
        result: ToolResult = _started(lambda: asyncio.run(self._result(call, heard, apart=True))).result()
        return result

    async def arun(self, call: ToolCall, heard: str | None = None) -> ToolResult:
        """:meth:`run` for asyncio: ``async`` tools run in the caller's loop, whose connections they may hold."""
        return await self._result(call, heard, apart=False)

    async def _result(self, call: ToolCall, heard: str | None, *, apart: bool) -> ToolResult:
        began = time.perf_counter()
        try:
            content, error, trace = await self._answer(call, heard, apart)
        except Exception as failed:  # whoever was to confirm it, say
            content, error, trace = _failed(call.name, failed)
        return ToolResult(call, content, error, trace, time.perf_counter() - began)

    async def _answer(self, call: ToolCall, heard: str | None, apart: bool) -> tuple[str, str, str]:
        found = self._tools.get(call.name)
        if found is None:
            return f"There is no tool {call.name}. There are: {', '.join(self._tools) or 'none'}.", "unknown tool", ""
        settings = settings_of(found)
        if refused := _refused_arguments(found, call):
            return refused, "arguments", ""
        if heard is not None and (missing := unsaid(call.arguments, settings.said, heard)):
            return f"{call.name} was not called: nobody has said the {', '.join(missing)}.", NOT_SAID, ""
        if settings.confirm and not await _ask(self._confirm, call):
            return "This call was not confirmed and has not been made.", "not confirmed", ""
        return await _attempts(lambda: _begin(found, call.arguments, apart), call.name, settings)


def _made(item: Any) -> BaseTool:
    if not callable(item):
        raise ToolRefused(type(item).__name__, "is no tool", "pass a typed function, or a langchain tool")
    made: BaseTool = tool(item)
    return made


async def _attempts(begin: Callable[[], Awaitable[Any]], name: str, settings: ToolSettings) -> tuple[str, str, str]:
    failed = ("", "", "")
    for _ in range(settings.retries + 1):
        work = asyncio.ensure_future(begin())
        done, _ = await asyncio.wait([work], timeout=settings.timeout)
        if not done:  # not tried again: the first attempt may still be at work
            work.cancel()
            return f"{name} gave no answer within {settings.timeout:g} s.", "timeout", ""
        error = work.exception()
        if error is None:
            return _readable(work.result(), settings.max_output), "", ""
        content, kind, trace = _failed(name, error)
        failed = _cut(content, settings.max_output), kind, trace
    return failed


def _failed(name: str, error: BaseException) -> tuple[str, str, str]:
    said = f"{name} failed: {str(error) or type(error).__name__}"
    return said, type(error).__name__, "".join(traceback.format_exception(error))


def _begin(found: BaseTool, arguments: Mapping[str, Any], apart: bool) -> Awaitable[Any]:
    """A call on its way: in the loop that runs, or on a thread of its own, where it holds up nobody if it hangs."""
    given = dict(arguments)
    if not _only_async(found):
        return asyncio.wrap_future(_started(lambda: found.invoke(given)))
    if apart:
        return asyncio.wrap_future(_started(lambda: asyncio.run(found.ainvoke(given))))
    return found.ainvoke(given)


def _only_async(found: BaseTool) -> bool:
    if isinstance(found, StructuredTool):
        return found.coroutine is not None and found.func is None
    return type(found)._arun is not BaseTool._arun


def _refused_arguments(found: BaseTool, call: ToolCall) -> str:
    """What is wrong with the arguments, by pydantic; a schema that is plain JSON is the grammar's to keep to."""
    model = found.args_schema
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        return ""
    try:
        model.model_validate(call.arguments)
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, e['loc'])) or 'all'}: {e['msg']}" for e in error.errors(include_url=False))
        return f"{call.name} can't be called like that: {'; '.join(wrong)}."
    return ""


async def _ask(confirm: Confirm | None, call: ToolCall) -> bool:
    return confirm is not None and bool(await asyncio.wrap_future(_started(lambda: confirm(call))))


def _readable(value: Any, most: int) -> str:
    if isinstance(value, str):
        return _cut(value, most)
    if isinstance(value, BaseModel):
        return _cut(value.model_dump_json(), most)
    try:
        return _cut(json.dumps(value, ensure_ascii=False, default=_plain), most)
    except (TypeError, ValueError, RecursionError):
        return _cut(str(value), most)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… (cut: {len(text)} characters)"


def _started(job: Callable[[], Any]) -> Future[Any]:
    """Run a job on a thread of its own: one of an executor's would be waited for when Python ends, even if it hangs."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            found = job()
        except StopIteration as error:  # which no future takes
            settle(future.set_exception, RuntimeError(f"StopIteration {error}"))
        except BaseException as error:
            settle(future.set_exception, error)
        else:
            settle(future.set_result, found)

    def settle(how: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(InvalidStateError):  # given up meanwhile
            how(value)

    threading.Thread(target=work, name="loragent-tool", daemon=True).start()
    return future
