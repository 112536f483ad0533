"""``metrics.jsonl``: a line a step and a line a validation, kept true to the run when it is stopped and goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SCORE = "validation_"


class Metrics:
    """The log of a run. Steps and epochs are 1-based; losses in nats a token."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self) -> None:
        """Forget an earlier run."""
        self._path.write_text("")

    def keep(self, step: int, epoch: int) -> None:
        """Drop what came after a checkpoint at that step and epoch, and a last line that a kill may have torn."""
        whole = self._path.read_text().split("\n")[:-1]
        done = [line for line in whole if _is_done(json.loads(line), step, epoch)]
        self._path.write_text("".join(line + "\n" for line in done))

    def step(self, step: int, epoch: int, loss: float) -> None:
        """A step's mean loss."""
        self._write(step=step, epoch=epoch, loss=round(loss, 5))

    def validation(self, epoch: int, scores: dict[str, float]) -> None:
        """The scores at an epoch's end."""
        self._write(epoch=epoch, **{_SCORE + name: round(value, 5) for name, value in scores.items()})

    def scores(self, epoch: int) -> dict[str, float]:
        """What :meth:`validation` wrote for an epoch."""
        for row in map(json.loads, self.text().splitlines()):
            if row["epoch"] == epoch and "step" not in row:
                return {k.removeprefix(_SCORE): v for k, v in row.items() if k.startswith(_SCORE)}
        return {}

    def text(self) -> str:
        """The whole log."""
        return self._path.read_text()

    def _write(self, **values: Any) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(values) + "\n")


def _is_done(row: dict[str, Any], step: int, epoch: int) -> bool:
    return bool(row["step"] <= step if "step" in row else row["epoch"] <= epoch)
