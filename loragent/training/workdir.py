"""A run's folder: one run at a time, and nothing left to resume once it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from ..core import TrainingError
from .checkpoint import FILE


def discard(workdir: Path) -> None:
    """Forget a run that was published or refused: nothing is left to resume."""
    (workdir / FILE).unlink(missing_ok=True)


@contextmanager
def only_run(workdir: Path, lock: str = ".lock") -> Iterator[None]:
    """Keep other processes out of a run's folder, and turn a full disk into one clear error."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with FileLock(workdir / lock, timeout=0):
            yield
    except Timeout:
        raise TrainingError(f"another training runs in {workdir}", "wait for it, or train under another name") from None
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
        why = getattr(error, "strerror", None) or error
        raise TrainingError(f"can't write the run into {workdir} ({why})", "free the disk, then resume") from error
