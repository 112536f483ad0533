"""The only training loop."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..core import TrainingError, TrainingRow, micro_batches
from ..model import LoadedModel, compute, release_freed
from ..plugin import LoraWeights
from .batches import split_rows
from .checkpoint import BEST, FILE, Progress, load_state, optimiser_tensors, restore_optimiser, save_state
from .course import Course
from .metrics import Metrics
from .network import Beneath, Network
from .room import room
from .settings import TrainSettings
from .workdir import only_run

CHECKPOINT_SECONDS = 30.0
WARMUP = 0.06  # share of the steps


@dataclass(frozen=True, slots=True)
class Step:
    """What a progress bar shows; steps that were passed over count as done. Seconds are estimated from those so far."""

    step: int
    steps: int
    epoch: int
    loss: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished run.

    Attributes:
        folder: the trained PEFT folder, with ``metrics.jsonl`` beside the weights.
        best_epoch: the epoch whose weights were kept, 1-based.
        validation: token accuracy and loss (nats a token) of that epoch; empty without held-out rows.
        seconds, tokens: training time and tokens read, over all parts of a resumed run.
    """

    folder: Path
    best_epoch: int
    validation: dict[str, float]
    seconds: float
    tokens: int


def fit(
    loaded: LoadedModel,
    rows: Sequence[TrainingRow],
    settings: TrainSettings,
    workdir: Path,
    *,
    start: LoraWeights | None = None,
    beneath: Sequence[Beneath] = (),
    data_sha256: str = "",
    resume: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> Fitted:
    """Train one plugin on rows.

    The twin that is trained shares the base's tensors; the base keeps answering between micro-steps.

    Args:
        workdir: holds the checkpoint and the metrics of the run; one run at a time.
        start: an update to begin with, as near as rank and layers allow; by default B = 0.
        beneath: plugins with their scales, mounted and frozen; what is trained is meant to be mounted on top of them.
        data_sha256: digest of all else that the run depends on; a run resumes only its own checkpoint.
        resume: go on from the checkpoint in ``workdir``, to the same loss curve.

    Raises:
        TrainingError: no rows, another run in ``workdir``, a checkpoint of another run, a loss that is not finite.
    """
    with only_run(workdir):
        trainer = Trainer(loaded, Job(rows, settings, workdir, start, data_sha256, resume, on_step, beneath))
        for batch in trainer.course():
            trainer.step(batch)
        return trainer.finish()


@dataclass(frozen=True, slots=True)
class Job:
    """What :func:`fit` is asked for; see its arguments."""

    rows: Sequence[TrainingRow]
    settings: TrainSettings
    workdir: Path
    start: LoraWeights | None = None
    data_sha256: str = ""
    resume: bool = False
    on_step: Callable[[Step], None] | None = None
    beneath: Sequence[Beneath] = ()


class Trainer:
    """The state of a run; :func:`fit` is the loop over it."""

    def __init__(self, loaded: LoadedModel, job: Job) -> None:
        rows, settings, start = job.rows, job.settings, job.start
        if not rows:
            raise TrainingError("there are no rows to train on", "check the data with `loragent data check`")
        self._rows, self._settings, self._workdir, self._on_step = rows, settings, job.workdir, job.on_step
        self._micro_tokens = settings.micro_tokens or room(loaded.device).micro_tokens
        self._train, self._held = split_rows(rows, settings.validation, settings.seed)
        self.network = compute(lambda: Network(loaded, rows, settings, job.beneath))
        self._named = self.network.parameters
        if start is not None:
            compute(lambda: self.network.start_from(start))
        self._optimiser = torch.optim.AdamW(
            self._named.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self._epochs = settings.passes(started=start is not None)
        key = hashlib.sha256(f"{settings.digest()}|{job.data_sha256}|{loaded.fingerprint}".encode()).hexdigest()[:16]
        self._at = Progress(key)
        self._metrics = Metrics(job.workdir / "metrics.jsonl")
        self._start(job.resume)
        self._course = Course(rows, self._train, settings, self._at)
        self._steps = self._course.size * self._epochs
        self._since = self._saved = time.perf_counter()

    # -- the loop ----------------------------------------------------------------------------------

    def course(self) -> Iterator[list[int]]:
        """Batches that are still to do, each to be stepped before the next is asked for."""
        for epoch in self._epochs_to_do():
            yield from self._course.batches(epoch)
            self._end_epoch()

    def step(self, batch: list[int]) -> None:
        """One optimiser step over a batch, micro-batch by micro-batch."""
        losses: dict[int, float] = {}
        for part in self.begin_step(batch):
            losses |= compute(partial(self._micro_step, part))
        self.end_step(batch, losses)
        release_freed()

    def begin_step(self, batch: list[int]) -> list[list[int]]:
        """The micro-batches whose gradients make up a step."""
        torch.manual_seed(self._settings.seed * 1_000_003 + self._at.step)  # dropout, repeatable after a resume
        self._targets = sum(self._rows[i].targets for i in batch)
        return micro_batches(self._rows, batch, self._micro_tokens)

    def share(self, losses: Tensor) -> Tensor:
        """What the losses of a micro-batch's rows, [rows], count in its step."""
        return losses.sum() / self._targets

    def end_step(self, batch: list[int], losses: Mapping[int, float]) -> None:
        """Apply the gradients; losses: of each row, over its targets.

        Raises:
            TrainingError: the loss is not finite.
        """
        total = sum(losses.values())
        if not math.isfinite(total):
            raise TrainingError(f"the loss is {total} at step {self._at.step}", "lower learning_rate, then train again")
        compute(self._update)
        self._course.note(losses)
        self._at.step += 1
        self._at.tokens += sum(len(self._rows[i].ids) for i in batch)
        self._at.loss_sum += total
        self._at.loss_tokens += self._targets
        self._metrics.step(self._at.step, self._at.epoch + 1, total / self._targets)
        if time.perf_counter() - self._saved > CHECKPOINT_SECONDS:
            self._save()
        self._report()

    def finish(self) -> Fitted:
        """Put the best weights back and write the PEFT folder."""
        tensors, best = load_state(self._workdir / BEST, self._at.key)
        folder = self._workdir / "plugin"
        compute(lambda: self.network.put_back(tensors))
        compute(lambda: self.network.save(folder))
        (folder / "metrics.jsonl").write_text(self._metrics.text())
        epoch = best.best_epoch + 1
        return Fitted(folder, epoch, self._metrics.scores(epoch), self._spent(), self._at.tokens)

    # -- below the loop ----------------------------------------------------------------------------

    def _epochs_to_do(self) -> Iterator[int]:
        """Ends early once the validation has stopped improving."""
        while self._at.epoch < self._epochs:
            if self._held and self._at.epoch - self._at.best_epoch > self._settings.patience:
                return
            yield self._at.epoch

    def _end_epoch(self) -> None:
        """Validate, keep the best weights, go on to the next epoch."""
        score, noise = self._validate() if self._held else ({"accuracy": float(self._at.epoch)}, 0.0)
        if score["accuracy"] >= self._at.best_score - noise:  # of like epochs the later one, at a lower learning rate
            self._at.best_score = max(score["accuracy"], self._at.best_score)
            self._at.best_epoch = self._at.epoch
            save_state(self._workdir / BEST, self._named, self._at)
        if self._held:
            self._metrics.validation(self._at.epoch + 1, score)
        self._at.epoch += 1
        self._at.batch = 0
        self._at.loss_sum, self._at.loss_tokens = 0.0, 0
        self._save()

    def _report(self) -> None:
        """Tell the caller where the run stands."""
        if self._on_step is not None:
            spent = self._at.seconds + time.perf_counter() - self._since
            done = self._course.done
            left = spent / done * (self._steps - done)
            mean = self._at.loss_sum / max(1, self._at.loss_tokens)
            self._on_step(Step(done, self._steps, self._at.epoch + 1, mean, left))

    def _micro_step(self, part: list[int]) -> dict[int, float]:
        losses = self.network.losses(part)
        self.share(losses).backward()  # type: ignore[no-untyped-call]
        return dict(zip(part, losses.tolist(), strict=True))

    def _update(self) -> None:
        warm = max(1, int(WARMUP * self._steps))
        done = self._course.done - 1
        cosine = 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, self._steps - warm)))
        for group in self._optimiser.param_groups:
            group["lr"] = self._settings.learning_rate * ((done + 1) / warm if done < warm else cosine)
        torch.nn.utils.clip_grad_norm_(self._named.values(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def _validate(self) -> tuple[dict[str, float], float]:
        """Scores on the held-out rows, and half the standard error of the accuracy."""
        nll, right, count = 0.0, 0, 0
        for part in micro_batches(self._rows, self._held, self._micro_tokens):
            losses, hits, targets = compute(partial(self.network.score, part))
            nll, right, count = nll + losses, right + hits, count + targets
        accuracy = right / count
        noise = 0.5 * math.sqrt(accuracy * (1 - accuracy) / count)
        return {"accuracy": accuracy, "loss": nll / count}, noise

    def _start(self, resume: bool) -> None:
        checkpoint = self._workdir / FILE
        if not resume or not checkpoint.exists():
            self._metrics.begin()
            (self._workdir / BEST).unlink(missing_ok=True)
            return
        tensors, self._at = load_state(checkpoint, self._at.key)
        compute(lambda: self.network.put_back(tensors))
        restore_optimiser(self._optimiser, self._named, tensors)
        self._metrics.keep(self._at.step, self._at.epoch)

    def _save(self) -> None:
        now = time.perf_counter()
        self._at.seconds, self._since, self._saved = self._spent(), now, now
        names = {id(parameter): name for name, parameter in self._named.items()}
        save_state(self._workdir / FILE, self._named | optimiser_tensors(self._optimiser, names), self._at)

    def _spent(self) -> float:
        return self._at.seconds + time.perf_counter() - self._since
