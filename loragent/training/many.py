"""Several plugins trained at once: each its own data, settings and early stop, all in one pass over the base."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
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
        trainers = [Trainer(loaded, job) for job in jobs]
        failed: dict[Trainer, TrainingError] = {}
        courses = {trainer: trainer.course() for trainer in trainers}
        while courses:
            batches = {trainer: batch for trainer, course in courses.items() if (batch := next(course, None))}
            failed |= _step(batches)
            courses = {trainer: courses[trainer] for trainer in batches if trainer not in failed}
        return [failed.get(trainer) or trainer.finish() for trainer in trainers]


def _step(batches: dict[Trainer, list[int]]) -> dict[Trainer, TrainingError]:
    """One optimiser step of each; returns those that failed."""
    totals = dict.fromkeys(batches, 0.0)
    owners = {trainer.network: trainer for trainer in batches}
    for parts in zip_longest(*(trainer.begin_step(batch) for trainer, batch in batches.items())):
        given = [(trainer.network, part) for trainer, part in zip(batches, parts, strict=True) if part]
        for together in joint.passes(given):
            mine = [owners[network] for network, _ in together]
            for trainer, loss in zip(mine, compute(lambda: _micro_step(mine, together)), strict=True):  # noqa: B023
                totals[trainer] += loss
    failed = {}
    for trainer, batch in batches.items():
        try:
            trainer.end_step(batch, totals[trainer])
        except TrainingError as error:
            failed[trainer] = error
    release_freed()
    return failed


def _micro_step(trainers: Sequence[Trainer], parts: Sequence[joint.Part]) -> list[float]:
    losses = joint.losses(parts)
    shares = [trainer.share(loss) for trainer, loss in zip(trainers, losses, strict=True)]
    torch.stack(shares).sum().backward()  # type: ignore[no-untyped-call]
    return [float(loss.detach()) for loss in losses]
