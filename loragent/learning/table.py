"""The TOML file that says what a folder holds, held against the fields that it may have."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..core import LoragentError


class Form(BaseModel):
    """The fields of such a file; a number is no text, and what is no field is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


F = TypeVar("F", bound=Form)


def read_table(path: Path, form: type[F], refused: type[LoragentError]) -> F:
    """Read a file.

    Raises:
        LoragentError: of the type ``refused``: there is no file, it can't be read, or a field is unknown or wrong.
    """
    fields = ", ".join(form.model_fields)
    try:
        return form.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise refused(f"{path.parent} has no {path.name}", f"write one; its fields are {fields}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        wrong = f"{field} is {first['input']!r}: {first['msg']}"
        what = f"unknown field {field}" if first["type"] == "extra_forbidden" else wrong
        raise refused(f"{path}: {what}", f"the fields are {fields}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise refused(f"{path} can't be read ({error})", "mend it") from error
