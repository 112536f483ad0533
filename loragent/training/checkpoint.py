"""A run's state in one file, replaced atomically: parameters, optimiser moments, and where the run stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core import TrainingError

FILE = "checkpoint.safetensors"
BEST = "best.safetensors"


@dataclass(slots=True)
class Progress:
    """Where a run stands; random numbers follow from ``seed`` and ``step``, so they need no state.

    Attributes:
        key: digest of settings, data and base; a run resumes only its own checkpoint.
        step: optimiser steps done.
        batch: batches of the current epoch's order that were drawn.
        waiting: of what was drawn, the batches that are still to do.
        resting: how many of the next rows of a group are passed over.
        best_score, best_epoch: of the validation.
        seconds, tokens: spent so far, over all parts of the run.
    """

    key: str
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_score: float = float("-inf")
    best_epoch: int = -1
    seconds: float = 0.0
    tokens: int = 0
    loss_sum: float = 0.0
    loss_tokens: int = 0
    waiting: list[list[int]] = field(default_factory=list)
    resting: dict[str, int] = field(default_factory=dict)


def save_state(path: Path, tensors: Mapping[str, Tensor], progress: Progress) -> None:
    """Write tensors and progress as one file; a kill leaves the file that was there."""
    temporary = path.with_suffix(".new")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, temporary, metadata={"progress": json.dumps(asdict(progress))})
    temporary.replace(path)


def load_state(path: Path, key: str) -> tuple[dict[str, Tensor], Progress]:
    """Read what :func:`save_state` wrote.

    Raises:
        TrainingError: another run's checkpoint, or a damaged one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} is damaged ({error})", "train again without resume") from error
    if progress.key != key:
        raise TrainingError(
            f"{path} belongs to another run: the data, the settings or the base have changed",
            "put them back, or train again without resume",
        )
    return tensors, progress


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """AdamW's moments by parameter name."""
    found = {}
    for parameter, state in optimiser.state.items():
        for part, value in state.items():
            found[f"optimiser|{names[id(parameter)]}|{part}"] = value
    return found


def restore_optimiser(
    optimiser: torch.optim.Optimizer, named: Mapping[str, Tensor], saved: Mapping[str, Tensor]
) -> None:
    """Put AdamW's moments back."""
    for key, value in saved.items():
        kind, name, field = key.split("|") if key.startswith("optimiser|") else ("", "", "")
        if kind:
            parameter = named[name]
            optimiser.state[parameter][field] = value if field == "step" else value.to(parameter.device)
