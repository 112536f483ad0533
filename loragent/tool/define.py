"""``@la.tool``: a typed function as a langchain tool, with what a call of it may take."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

from langchain_core.tools import BaseTool, StructuredTool

from ..core import ToolRefused, ToolSchema

_KEY = "loragent"  # in a tool's metadata


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """What one call of a tool may take.

    Attributes:
        timeout: seconds; a call that takes longer is given up (but a thread can't be stopped: it may still finish).
        retries: how often a call that raised is tried again.
        max_output: characters of a result that the model gets to read.
        confirm: ask a person first.
        said: arguments whose values the user must have said; a call that passes on another is not made.
    """

    timeout: float = 30.0
    retries: int = 0
    max_output: int = 4000
    confirm: bool = False
    said: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.timeout <= 0 or self.retries < 0 or self.max_output < 1:
            raise ValueError("timeout and max_output are more than 0, retries is 0 or more")


@overload
def tool(item: Callable[..., Any] | BaseTool, /, **settings: Any) -> BaseTool: ...


@overload
def tool(
    item: None = None, /, *, name: str | None = None, description: str | None = None, **settings: Any
) -> Callable[[Callable[..., Any]], BaseTool]: ...


def tool(
    item: Callable[..., Any] | BaseTool | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    **settings: Any,
) -> BaseTool | Callable[[Callable[..., Any]], BaseTool]:
    """Make a tool of a typed function; ``async def`` too. A tool that is one already gets settings.

    The function's annotations become the schema, its docstring the description (Google's form also describes the
    arguments).

    Args:
        name: by default the function's.
        description: by default the docstring.
        settings: of :class:`ToolSettings`: ``timeout``, ``retries``, ``max_output``, ``confirm``, ``said``.

    Raises:
        ToolRefused: an argument has no type, or nothing says what the tool is for.
    """
    if item is None:
        return lambda function: tool(function, name=name, description=description, **settings)
    made = item if isinstance(item, BaseTool) else _from_function(item, name, description)
    renamed = {key: value for key, value in (("name", name), ("description", description)) if value}
    metadata = {**(made.metadata or {}), _KEY: ToolSettings(**settings)}
    return made.model_copy(update={**renamed, "metadata": metadata})


def settings_of(made: BaseTool) -> ToolSettings:
    """The settings that :func:`tool` gave; else the defaults."""
    found = (made.metadata or {}).get(_KEY)
    return found if isinstance(found, ToolSettings) else ToolSettings()


def _from_function(function: Callable[..., Any], name: str | None, description: str | None) -> BaseTool:
    called = str(name or getattr(function, "__name__", type(function).__name__))
    _check(function, called, description)
    runs_in_loop = inspect.iscoroutinefunction(function)
    try:
        made: BaseTool = StructuredTool.from_function(
            None if runs_in_loop else function,
            function if runs_in_loop else None,
            called,
            description,
            parse_docstring=description is None,
        )
        ToolSchema.of(made)  # raises for types that have no schema
    except Exception as error:  # pydantic's own, of a type that it can't describe, say
        raise ToolRefused(called, str(error).partition("\n")[0], "use types that pydantic knows") from error
    return made


def _check(function: Callable[..., Any], called: str, description: str | None) -> None:
    if not (description or inspect.getdoc(function)):
        raise ToolRefused(called, "nothing says what it is for", "write a docstring, or give description=")
    try:
        types = typing.get_type_hints(function)
    except NameError as error:
        raise ToolRefused(called, f"a type is not known: {error}", "import it where the tool is defined") from error
    except TypeError as error:
        raise ToolRefused(called, "is no function", "write a function with `def`") from error
    for argument in inspect.signature(function).parameters.values():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD, argument.POSITIONAL_ONLY):
            raise ToolRefused(called, f"{argument} has no name of its own", "name each argument")
        if argument.name not in types:
            raise ToolRefused(called, f"argument {argument.name} has no type", f"annotate it: {argument.name}: str")
