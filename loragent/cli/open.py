"""Opening what commands work on: the base, roles by name or folder, and their shelves."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..agent import Agent
from ..base import Base
from ..core import PluginError, RoleError
from ..memory import Memory
from ..model import home
from ..plugin import Library
from ..role import load_role
from .console import err

ROLES, TOOLS = Path("roles"), Path("tools")
BaseOption = Annotated[str | None, typer.Option("--base", help="A model folder; by default SmolLM2-135M-Instruct.")]


def open_library(folder: Path | None) -> Library:
    """The library, with the shelves of ``./roles`` and ``./tools`` known by name."""
    library = Library(folder or home() / "plugins")
    for place in (*sorted(ROLES.glob("*")), *sorted(TOOLS.glob("*"))):
        if (place / "plugin" / "pointer.json").is_file():
            try:
                library.attach(place / "plugin")
            except PluginError as error:  # one that is broken must not stop work on the others
                err.print(f"warning: {place} left out: {error}", markup=False, soft_wrap=True)
    return library


def open_base(base: str | None, library: Path | None = None, dtype: str | None = None) -> Base:
    """Load the base, saying so: the first time takes a while."""
    with err.status("loading the base ..."):
        return Base.load(base, dtype=dtype, library=open_library(library))


def open_memory(folder: Path | None, base: Base) -> AbstractContextManager[Memory | None]:
    """The memory in a folder, closed at the end; None of no folder."""
    return Memory(folder, base=base) if folder is not None else nullcontext()


def role_folder(name: str) -> Path:
    """A role by folder, or by name under ``./roles``."""
    folder = Path(name)
    return folder if folder.is_dir() else ROLES / name


def tool_folder(name: str) -> Path:
    """A set of tools by folder, or by name under ``./tools``."""
    folder = Path(name)
    return folder if folder.is_dir() else TOOLS / name


def open_agent(base: Base, name: str, memory: Memory | None = None) -> Agent:
    """An agent for a role folder, a role under ``./roles``, or a plugin of the library.

    Raises:
        PluginNotFound: none of them.
    """
    folder = role_folder(name)
    if (folder / "role.toml").is_file():
        return Agent(load_role(folder).name, base=base, role=folder, memory=memory)
    return Agent(base.library.resolve(name).name, base=base, stack=[name], memory=memory)


def open_house(base: Base, memory: Memory | None = None) -> list[Agent]:
    """Every trained role under ``./roles``, in the order of their names; skills are no agents.

    Raises:
        RoleError: there is none.
    """
    folders = [p for p in sorted(ROLES.glob("*")) if (p / "plugin" / "pointer.json").is_file()]
    folders = [folder for folder in folders if load_role(folder).kind == "role"]
    if not folders:
        raise RoleError("there is no trained role under ./roles", "name an agent, or run it where roles are")
    return [open_agent(base, str(folder), memory) for folder in folders]
