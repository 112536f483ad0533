"""Where loragent keeps what it needs only once: ``LORAGENT_HOME``, else the platform's cache folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from ..core import BaseModelError

READY = ".ready"  # written last; a folder without it is half-written and never used


def home() -> Path:
    """The folder for bases, plugins and run state; not created here."""
    configured = os.environ.get("LORAGENT_HOME")
    return Path(configured).expanduser() if configured else user_cache_path("loragent")


def recall(file: Path) -> dict[str, Any]:
    """What :func:`remember` wrote; nothing if it isn't there or isn't whole."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(file: Path, values: Mapping[str, Any]) -> None:
    """Keep what is dear to find out again; without room for it, nothing is kept."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(values))
        temporary.replace(file)


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Return ``target``, building it first if no process has finished building it before.

    ``build`` fills a scratch folder beside the target, which is renamed into place when it is whole; so
    a crash leaves no half-written target, and two processes that start at once wait for each other.

    Raises:
        BaseModelError: the disk is full or the folder can't be written.
    """
    if (target / READY).exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not (target / READY).exists():
                _build(target, build)
    except OSError as error:
        raise disk_error(target, error) from error
    return target


def _build(target: Path, build: Callable[[Path], None]) -> None:
    for stale in target.parent.glob(f"{target.name}.part-*"):
        shutil.rmtree(stale, ignore_errors=True)
    with scratch(target) as part:
        build(part)
        (part / READY).touch()
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` on the same disk, gone afterwards unless renamed."""
    part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def disk_error(place: Path, error: OSError) -> BaseModelError:
    """One clear line for a folder that can't be written."""
    if error.errno == errno.ENOSPC:
        return BaseModelError(
            f"no space left on the disk of {place}", "free some, or set LORAGENT_HOME to another disk"
        )
    return BaseModelError(
        f"can't write {place} ({error.strerror or error})", "set LORAGENT_HOME to a folder you may write"
    )
