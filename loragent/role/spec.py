"""A role on disk.

roles/concierge/
  role.toml         name, persona, prompt (the long policy that the plugin replaces), kind (role or skill), [training]
  train.jsonl       dialogues
  eval.jsonl        dialogues that are never trained on
  plugin/           the shelf of published versions
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..core import RoleError
from ..learning import Form, read_table
from ..plugin import Shelf, check_name
from ..training import TrainSettings

FILE = "role.toml"


class _File(Form):
    name: str | None = None
    persona: str = ""
    prompt: str = ""
    kind: Literal["role", "skill"] = "role"
    training: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """What ``role.toml`` says.

    Attributes:
        folder: the role's folder.
        name: also the plugin's name.
        persona: the role in one line; the short prompt.
        prompt: the long policy prompt, kept as the yardstick.
        training: settings that differ from the defaults.
        kind: "role", or "skill" for what is no agent of its own.
    """

    folder: Path
    name: str
    persona: str = ""
    prompt: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    kind: Literal["role", "skill"] = "role"

    @property
    def train_file(self) -> Path:
        return self.folder / "train.jsonl"

    @property
    def eval_file(self) -> Path:
        return self.folder / "eval.jsonl"

    @property
    def shelf(self) -> Shelf:
        """Where the role's plugin is published."""
        return Shelf(self.folder / "plugin")

    def settings(self, over: Mapping[str, Any] | None = None) -> TrainSettings:
        """The role's training settings over the defaults, and ``over`` over both."""
        return TrainSettings.parse({**self.training, **(over or {})}, f"{self.folder / FILE}, [training]")


def load_role(folder: str | Path) -> RoleSpec:
    """Read a role folder.

    Raises:
        RoleError: no folder, no ``role.toml``, or a field of it is unknown or of the wrong type.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise RoleError(f"{place} is no folder", "name a role folder, or train one with --data and --name")
    said = read_table(place / FILE, _File, RoleError)
    name = check_name(said.name or place.resolve().name)
    return RoleSpec(place, name, said.persona, said.prompt, said.training, said.kind)


def write_role(folder: Path, name: str, persona: str = "", prompt: str = "") -> RoleSpec:
    """Make a role folder around new data; a ``role.toml`` that is there is kept.

    Raises:
        RoleError: it is there with another name or another prompt, or the folder can't be written.
    """
    check_name(name)
    if (folder / FILE).exists():
        found = load_role(folder)
        if found.name != name or (prompt and found.prompt.strip() != prompt.strip()):
            raise RoleError(f"{folder / FILE} is of another role or prompt", "choose another out, or change that file")
        return found
    lines = [f'name = "{name}"', f"persona = {_toml(persona)}", f"prompt = {_toml(prompt)}"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise RoleError(f"can't write {folder} ({error.strerror})", "choose another out") from error
    return load_role(folder)


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a TOML basic string
