"""``plugin.json``: what a PEFT folder doesn't say about itself."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..core import PluginRefused

FILE = "plugin.json"
Kind = Literal["role", "tool", "memory", "skill"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_name(name: str) -> str:
    """A plugin name is also a folder name: letters, digits, ``-`` and ``_``, at most 64.

    Raises:
        PluginRefused: anything else, so that no name can leave the library.
    """
    if not _NAME.fullmatch(name):
        raise PluginRefused("name", f"{name!r} is no plugin name", "use letters, digits, '-' and '_', at most 64")
    return name


class Manifest(BaseModel):
    """Facts about one version of a plugin.

    Attributes:
        name, version, kind: identity; a version is given at publishing and never changes.
        base: fingerprint of the base it was trained on; empty when a foreign tool did not say.
        parents: ``name@version`` of the plugins it was continued or mixed from.
        data_sha256: digest of the training data.
        settings: training settings as used.
        before, after: scores on the held-out rows without and with the plugin.
        sha256, config_sha256: of ``adapter_model.safetensors`` and ``adapter_config.json``.
        tools: digests of the tool schemas that it has learnt to call without reading them, by name.
        seconds, tokens: what the training took.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: int = Field(default=0, ge=0)
    kind: Kind = "role"
    base: str = ""
    parents: tuple[str, ...] = ()
    data_sha256: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)
    sha256: str = ""
    config_sha256: str = ""
    tools: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0
    tokens: int = 0
    created: str = ""

    @field_validator("name")
    @classmethod
    def _valid_name(cls, value: str) -> str:
        return check_name(value)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The folder's manifest, or None for a plain PEFT folder.

        Raises:
            PluginRefused: the file is there and unreadable; the field is named.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or FILE
            raise PluginRefused(field, f"{path}: {first['msg']}", "export or import the plugin again") from error

    def write(self, folder: Path) -> None:
        """Write ``plugin.json`` into the folder."""
        text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n")


def sha256_of(path: Path) -> str:
    """sha256 of a file, in hex; read anew only when the file was written or replaced."""
    state = path.stat()
    return _sha256_of(path, (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))


@lru_cache(maxsize=4096)
def _sha256_of(path: Path, state: tuple[int, ...]) -> str:
    del state
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
