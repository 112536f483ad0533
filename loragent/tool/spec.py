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
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import ValidationError

from ..core import DataError, ToolError, ToolRefused, ToolSchema, tool_schemas
from ..plugin import Shelf, check_name
from ..training import TrainSettings

FILE = "toolset.toml"
_FIELDS: dict[str, type] = {
    "name": str, "copies": int, "dialogues": list, "overheard": int, "values": dict, "training": dict,
}  # fmt: skip
COPIES = 40


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
    path = place / FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ToolError(f"{place} has no {FILE}", "name a folder with a set of tools") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ToolError(f"{path} can't be read ({error})", "mend it") from error
    if unknown := table.keys() - _FIELDS.keys():
        raise ToolError(f"{path}: unknown field {', '.join(sorted(unknown))}", f"the fields are {', '.join(_FIELDS)}")
    for key, value in table.items():
        if not isinstance(value, _FIELDS[key]) or (isinstance(value, int) and value < 1):
            raise ToolError(f"{path}: {key} is {value!r}", f"it is a {_FIELDS[key].__name__}")
    known = {key: table[key] for key in _FIELDS.keys() - {"name"} if key in table}
    return Toolset(place, check_name(str(table.get("name", place.resolve().name))), _schemas(place), **known)


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
