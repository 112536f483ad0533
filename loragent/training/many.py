"""Several plugins trained at once: each its own data, settings and early stop, all in one pass over the base."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import zip_longest

import torch

from ..core import TrainingError
from ..model import LoadedModel, compute, release_freed
from . import joint
from .loop import Fitted, Job, Trainer
from .workdir import only_run


def fit_many(loaded: LoadedModel, jobs: Sequence[Job]) -> list[Fitted | TrainingError]:
    """Train several plugins at once; each ends as it would alone, up to rounding.

    Worth it where the steps of one are too small to keep the machine busy: short rows, few of them.

    Returns:
        In the order of the jobs; an error for one whose loss was not finite, which is no concern of the others.

    Raises:
        TrainingError: as :func:`fit` does, before anything is trained; of two jobs in one folder too.
    """
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(only_run(job.workdir))
        running = {n: Trainer(loaded, job) for n, job in enumerate(jobs)}
        courses = {n: trainer.course() for n, trainer in running.items()}
        found: dict[int, Fitted | TrainingError] = {}
        while running:
            batches: dict[Trainer, list[int]] = {}
            for n in list(running):
                if (batch := next(courses[n], None)) is not None:
                    batches[running[n]] = batch
                else:
                    found[n] = running.pop(n).finish()
            failed = _step(batches)
            found |= {n: failed[trainer] for n, trainer in running.items() if trainer in failed}
            running = {n: trainer for n, trainer in running.items() if trainer not in failed}
        return [found[n] for n in range(len(jobs))]


def _step(batches: dict[Trainer, list[int]]) -> dict[Trainer, TrainingError]:
    """One optimiser step of each; returns those that failed."""
    failed = {}
    lean = {trainer: batch for trainer, batch in batches.items() if trainer.network.lean}
    losses = _accumulate(lean)
    for trainer, batch in batches.items():
        try:
            if trainer in lean:
                trainer.end_step(batch, losses[trainer])
            else:  # dropout, say, wants random numbers of its own
                trainer.step(batch)
        except TrainingError as error:
            failed[trainer] = error
    release_freed()
    return failed


def _accumulate(batches: dict[Trainer, list[int]]) -> dict[Trainer, dict[int, float]]:
    """The gradients of a step of each, and the losses of its rows."""
    found: dict[Trainer, dict[int, float]] = {trainer: {} for trainer in batches}
    owners = {trainer.network: trainer for trainer in batches}
    for parts in zip_longest(*(trainer.begin_step(batch) for trainer, batch in batches.items())):
        given = [(trainer.network, part) for trainer, part in zip(batches, parts, strict=True) if part]
        for together in joint.passes(given):
            mine = [owners[network] for network, _ in together]
            for trainer, losses in zip(mine, compute(partial(_micro_step, mine, together)), strict=True):
                found[trainer] |= losses
    return found


def _micro_step(trainers: Sequence[Trainer], parts: Sequence[joint.Part]) -> list[dict[int, float]]:
    """The losses of each one's rows."""
    found = joint.losses(parts)
    shares = [trainer.share(losses) for trainer, losses in zip(trainers, found, strict=True)]
    torch.stack(shares).sum().backward()  # type: ignore[no-untyped-call]
    return [dict(zip(rows, losses.tolist(), strict=True)) for (_, rows), losses in zip(parts, found, strict=True)]
