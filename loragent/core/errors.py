"""The error tree. Every error carries fields and names the way out.

LoragentError
├── BaseModelError          the shared base can't be found, fetched, verified or loaded
│   └── FetchError          a download failed; names the package and the command to try
├── PluginError             a plugin can't be used as it is
│   ├── PluginNotFound      no such name or version in the library
│   ├── PluginRefused       the files exist but a field of theirs is unacceptable
│   └── PluginBusy          two processes publish into one name
├── DataError               a data file or a row of it is unusable (file, line, way out)
├── TrainingError           a training run can't start, resume or finish
├── GenerationError         a request can't be served
│   ├── ContextOverflow     prompt and answer don't fit into the context
│   ├── EngineBusy          too many requests wait already
│   ├── GenerationTimeout   a request took longer than it was given
│   └── OutputInvalid       an answer has the asked form, but its model refuses the values
├── RoleError               a role folder is incomplete or contradictory
├── ToolError               a tool can't be used, or a call of it failed
│   └── ToolRefused         the tool itself is unacceptable: no types, no schema that a grammar holds, a name twice
└── MemoryFault             a memory can't be opened, read or written
"""

from __future__ import annotations

from pathlib import Path


class LoragentError(Exception):
    """Root of all errors raised on purpose. ``str(error)`` is one line for a person.

    Args:
        what: what is wrong, naming the file, line or field.
        way_out: what the user can do about it.
    """

    def __init__(self, what: str, way_out: str = "") -> None:
        self.what = what
        self.way_out = way_out
        super().__init__(f"{what} — {way_out}" if way_out else what)


class BaseModelError(LoragentError):
    """The shared base model can't be found, verified or loaded."""


class FetchError(BaseModelError):
    """A file that is needed once could not be fetched."""


class PluginError(LoragentError):
    """A plugin can't be used as it is."""


class PluginNotFound(PluginError):
    """No plugin of that name, version or path."""


class PluginRefused(PluginError):
    """The files exist, but one field of theirs is unacceptable.

    Args:
        field: the manifest or config field, or the file, that is refused.
        what: why.
    """

    def __init__(self, field: str, what: str, way_out: str = "") -> None:
        self.field = field
        super().__init__(f"plugin refused, {field}: {what}", way_out)


class PluginBusy(PluginError):
    """Another process publishes into the same name."""


class DataError(LoragentError):
    """A data file, or one row of it, is unusable.

    Args:
        path: the file.
        line: 1-based line number, or None when it is about the whole file.
    """

    def __init__(self, path: Path | str, what: str, way_out: str = "", line: int | None = None) -> None:
        self.path = Path(path)
        self.line = line
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {what}", way_out)


class TrainingError(LoragentError):
    """A training run can't start, resume or finish."""


class GenerationError(LoragentError):
    """A generation request can't be served."""


class ContextOverflow(GenerationError):
    """Prompt and answer don't fit into the context window.

    Args:
        tokens: tokens asked for (prompt plus room for the answer).
        limit: the context length of the base, in tokens.
    """

    def __init__(self, tokens: int, limit: int) -> None:
        self.tokens = tokens
        self.limit = limit
        super().__init__(
            f"the prompt and its answer need {tokens} tokens, the context holds {limit}",
            "shorten the messages or lower max_tokens",
        )


class EngineBusy(GenerationError):
    """Too many requests wait already.

    Args:
        waiting: how many.
    """

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(f"{waiting} requests wait already", "try again later, or ask for less at a time")


class GenerationTimeout(GenerationError):
    """A request took longer than it was given.

    Args:
        seconds: how long that was.
        text: what was answered until then.
    """

    def __init__(self, seconds: float, text: str) -> None:
        self.seconds, self.text = seconds, text
        super().__init__(f"no whole answer within {seconds:g} s", "give it a longer timeout or a lower max_tokens")


class OutputInvalid(GenerationError):
    """An answer has the form that was asked for, but the pydantic model refuses its values.

    Args:
        text: the answer.
        why: what the model says.
    """

    def __init__(self, text: str, why: str) -> None:
        self.text, self.why = text, why
        super().__init__(f"the answer {text[:80]!r} is refused: {why}", "ask again, or put the rule into the schema")


class RoleError(LoragentError):
    """A role folder is incomplete or contradictory."""


class ToolError(LoragentError):
    """A tool can't be used, or a call of it failed."""


class ToolRefused(ToolError):
    """A tool that is unacceptable as it is.

    Args:
        tool: its name.
    """

    def __init__(self, tool: str, what: str, way_out: str = "") -> None:
        self.tool = tool
        super().__init__(f"tool {tool}: {what}", way_out)


class MemoryFault(LoragentError):
    """A memory can't be opened, read or written."""
