"""A set of tools on disk.

tools/hotel/
  toolset.toml      name, copies, dialogues, overheard, [values] (what slots are filled with), [training]
  tools.py          the tools; or tools.json, their schemas alone. Without either the rows bring their own tools
  examples.jsonl    a handful of requests a tool, with slots; see loragent.tool.expand
  catalogue.jsonl   many tools with a few requests each; see loragent.tool.catalogue
  eval.jsonl        conversations that are never trained on
  plugin/           the shelf of published versions
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import Field, PositiveInt, ValidationError

from ..core import DataError, ToolError, ToolRefused, ToolSchema, tool_schemas
from ..learning import Form, read_table
from ..plugin import Shelf, check_name
from ..training import TrainSettings

FILE = "toolset.toml"
COPIES = 40


class _File(Form):
    name: str | None = None
    copies: PositiveInt = COPIES
    dialogues: list[str] = Field(default_factory=list)
    overheard: PositiveInt | None = None
    values: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Toolset:
    """What a folder says of a set of tools.

    Attributes:
        name: also the plugin's name.
        schemas: what the plugin learns to call without reading it; empty if the rows bring their own tools.
        values: what slots are filled with, by slot.
        copies: rows that are made of each example with slots.
        dialogues: of roles that it serves, from the folder; see :mod:`loragent.tool.overheard`.
        overheard: rows, at most, that are made of each file of dialogues; by default all.
        training: settings that differ from the defaults.
    """

    folder: Path
    name: str
    schemas: tuple[ToolSchema, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    copies: int = COPIES
    dialogues: Sequence[str] = ()
    overheard: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dialogue_files(self) -> tuple[Path, ...]:
        return tuple(self.folder / name for name in self.dialogues)

    @property
    def examples_file(self) -> Path:
        return self.folder / "examples.jsonl"

    @property
    def catalogue_file(self) -> Path:
        return self.folder / "catalogue.jsonl"

    @property
    def eval_file(self) -> Path:
        return self.folder / "eval.jsonl"

    @property
    def shelf(self) -> Shelf:
        """Where the set's plugin is published."""
        return Shelf(self.folder / "plugin")

    def settings(self, over: Mapping[str, Any] | None = None) -> TrainSettings:
        """The set's training settings over the defaults, and ``over`` over both."""
        return TrainSettings.parse({**self.training, **(over or {})}, f"{self.folder / FILE}, [training]")


def load_toolset(folder: str | Path) -> Toolset:
    """Read a folder.

    Raises:
        ToolError: no folder, no ``toolset.toml``, or a field of it is unknown or of the wrong type.
        ToolRefused, DataError: about its tools.
    """
    place = Path(folder).expanduser()
    said = read_table(place / FILE, _File, ToolError)
    name = check_name(said.name or place.resolve().name)
    return Toolset(place, name, _schemas(place), **said.model_dump(exclude={"name"}))


def load_tools(folder: str | Path) -> list[BaseTool]:
    """The tools that ``tools.py`` of a folder defines, in its order. It is run, as ``python tools.py`` would.

    Raises:
        ToolError: there is no ``tools.py``, it fails, or it holds no tool.
    """
    path = Path(folder).expanduser() / "tools.py"
    spec = importlib.util.spec_from_file_location(f"loragent_tools_{path.parent.resolve().name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ToolError(f"{path} is no file", "define the tools there, with la.tool")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ToolError(f"{path} fails: {error}", "mend it; `python` shows where") from error
    found = [value for value in vars(module).values() if isinstance(value, BaseTool)]
    if not found:
        raise ToolError(f"{path} defines no tool", "decorate its functions with la.tool")
    return found


def read_schemas(file: Path) -> tuple[ToolSchema, ...]:
    """The tools of a ``tools.json``.

    Raises:
        ToolRefused, DataError: it holds none that can be kept to.
    """
    try:
        return tool_schemas(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, ValidationError, ToolRefused) as error:
        raise DataError(file, f"is no list of tools ({error})", "write OpenAI's form") from error


def _schemas(place: Path) -> tuple[ToolSchema, ...]:
    if (place / "tools.json").is_file():
        return read_schemas(place / "tools.json")
    return tool_schemas(load_tools(place)) if (place / "tools.py").is_file() else ()
