"""What an agent mounts: its role's plugin, and the one that calls its tools."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..base import Base
from ..core import Generator, RoleError, ToolSchema, Use
from ..memory import Scene
from ..role import load_role, scenes
from ..tool import plugin_for


def role_entry(base: Base | Generator, role: str | Path) -> str:
    """A role folder's shelf by its path, so that two roles of one name stay two; or a plugin's name as it is.

    Raises:
        RoleError: the folder is no role, or nothing of it is published.
    """
    if not (Path(role).expanduser() / "role.toml").is_file():
        if isinstance(role, Path) or "/" in role:
            load_role(role)  # raises: says what is wrong with the folder
        return str(role)
    spec = load_role(role)
    if not spec.shelf.exists():
        raise RoleError(f"role {spec.name} has no published plugin", f"run `loragent train role {spec.folder}`")
    if isinstance(base, Base):
        base.library.attach(spec.shelf.path, replace=False)  # a convenience: stacks may name it too
    return str(spec.shelf.path.absolute())


def scenes_of(role: str | Path | None) -> Callable[[], Sequence[Scene]]:
    """Conversations as a role has them; none, where its data isn't at hand."""
    if role is None or not (Path(role).expanduser() / "role.toml").is_file():
        return tuple
    return partial(scenes, load_role(role))


def tool_entry(
    base: Base | Generator, tools: Sequence[ToolSchema], toolset: str | Path | Use | None
) -> list[str | Path | Use]:
    """The plugin that calls tools: the one that is named, or the one of the library that fits them best; or none."""
    if not tools or toolset is None or (toolset == "auto" and not isinstance(base, Base)):
        return []
    if toolset != "auto" or not isinstance(base, Base):
        return [toolset]
    choice = plugin_for(tools, base.library.list(), base.fingerprint)
    if choice.why:
        warnings.warn(choice.why, stacklevel=3)
    return [choice.plugin.name] if choice.plugin is not None else []
