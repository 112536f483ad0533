"""The only inference: rows with any stacks join and leave one batch between steps."""

from __future__ import annotations

import atexit
import threading
import traceback
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Rows
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from ..core import (
    EngineBusy,
    GenerationError,
    GenerationRequest,
    Limits,
    RowScore,
    Teacher,
    TrainingRow,
    Use,
    micro_batches,
)
from ..model import LoadedModel, compute, keep_freed
from ..plugin import Plugin
from .batch import CHUNK_TOKENS, Batch
from .intake import Intake
from .prefix import PrefixStore
from .runner import Runner
from .sampler import sample
from .sequence import Sequence

T = TypeVar("T")


class Engine:
    """Owns the model on one thread; callers on any thread submit requests and wait for sequences.

    Attributes:
        intake: makes rows of requests.

    Args:
        loaded: the shared base.
        resolve: finds a plugin by what a stack entry names.
        limits: how much it takes.
    """

    def __init__(self, loaded: LoadedModel, resolve: Callable[[str], Plugin], limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        rows = self._limits.rows
        if loaded.device.type == "cpu":
            keep_freed()
        self._runner = compute(lambda: Runner(loaded, rows))
        self.intake = Intake(loaded, resolve, self._runner, self._limits)
        self._waiting: deque[Sequence] = deque()
        self._batch = Batch(self._runner.cache, rows, self._runner.layers, PrefixStore(self._limits.prefix_bytes))
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, request: GenerationRequest) -> Sequence:
        """Queue a request. Errors of the request itself are raised here, on the caller's thread; see
        :meth:`Intake.prepare`.
        """
        sequence = self.intake.prepare(request)
        self.enqueue(sequence)
        return sequence

    def enqueue(self, *sequences: Sequence) -> None:
        """Queue what :meth:`Intake.prepare` made; sequences that are queued together are read together.

        Raises:
            EngineBusy: the queue is full. One caller's rows alone never fill it.
        """
        with self._wake:
            if self._closed:
                raise GenerationError("this base is closed", "load it again")
            if self._waiting and len(self._waiting) + len(sequences) > self._limits.waiting:
                raise EngineBusy(len(self._waiting))
            self._waiting.extend(sequences)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="loragent-engine", daemon=True)
                self._thread.start()
                atexit.register(self.close)  # torch aborts when a thread is inside it while Python goes down
            self._wake.notify()

    def score(self, rows: Rows[TrainingRow], stack: Rows[Use] = ()) -> list[RowScore]:
        """Likelihood of the masked tokens of rows under a stack; computed between steps."""

        def measure(row: TrainingRow, logits: Tensor) -> RowScore:
            targets = torch.tensor([t for t, on in zip(row.ids[1:], row.mask[1:], strict=True) if on]).to(logits.device)
            nll = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            return RowScore(float(nll), len(targets), int((logits.argmax(-1) == targets).sum()))

        return self._each_at_targets(rows, stack, measure)

    def teach(self, rows: Rows[TrainingRow], stack: Rows[Use] = (), top: int = 32) -> list[Teacher]:
        """The distribution at the masked tokens of rows, cut to the ``top`` likeliest and renormalised."""

        def keep(row: TrainingRow, logits: Tensor) -> Teacher:
            del row
            best = torch.softmax(logits, -1).topk(top)
            mass = best.values / best.values.sum(-1, keepdim=True)
            return Teacher(tuple(map(tuple, best.indices.tolist())), tuple(map(tuple, mass.tolist())))

        return self._each_at_targets(rows, stack, keep)

    def _each_at_targets(
        self, rows: Rows[TrainingRow], stack: Rows[Use], reduce: Callable[[TrainingRow, Tensor], T]
    ) -> list[T]:
        """What becomes of the logits [targets, vocabulary] of each row, some rows at a time, between steps."""
        if late := [use.plugin for use in stack if use.after]:
            raise GenerationError(
                f"{late[0]} is used after some messages", "rows of tokens have none: leave `after` out"
            )
        mounts = tuple(self.intake.mount(use)[0] for use in stack)

        @torch.inference_mode()
        def read(part: Rows[TrainingRow]) -> list[T]:
            logits = torch.split(self._runner.at_targets(part, mounts), [row.targets for row in part])
            return [reduce(row, own) for row, own in zip(part, logits, strict=True)]

        found: dict[int, T] = {}
        for part in micro_batches(rows, range(len(rows)), CHUNK_TOKENS):
            found |= zip(part, compute(partial(read, [rows[i] for i in part])), strict=True)
        return [found[i] for i in range(len(rows))]

    def forget(self) -> None:
        """Forget what ended rows have read, and what was scored; rows in flight go on."""
        compute(self._batch.prefixes.clear, urgent=True)
        compute(self._runner.scored.clear, urgent=True)

    def close(self) -> None:
        """Stop the thread; rows in flight end as cancelled."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self._batch.prefixes.clear()  # here, since at exit nothing computes any more
        atexit.unregister(self.close)

    # -- the engine's thread -----------------------------------------------------------------------

    def _serve(self) -> None:
        while self._work_to_do():
            try:
                compute(self._turn, urgent=True)
            except Exception as error:  # Python goes down, or the fault is ours: nobody must wait for ever
                self._drop(_failure(error))
                self._runner.clear()  # half a step may be in it
        for row in (*self._batch.rows, *self._waiting):
            row.end("cancelled")

    def _drop(self, error: GenerationError) -> None:
        with self._wake:
            rows = [*self._batch.rows, *self._waiting]
            self._batch.drop()
            self._waiting.clear()
        for row in rows:
            row.fail(error)

    @torch.inference_mode()
    def _turn(self) -> None:
        self._admit()
        self._decode()
        self._read()
        self._retire()

    def _work_to_do(self) -> bool:
        with self._wake:
            while not (self._waiting or self._batch.rows or self._closed):
                self._runner.rest()
                self._wake.wait()
            return not self._closed

    def _admit(self) -> None:
        """Rows get slots, first come first served; those whose time is over are given up, here or there."""
        for row in (*self._batch.rows, *self._waiting):
            row.check_time()
        while self._waiting:
            row = self._waiting[0]
            if row.finish:
                self._waiting.popleft()
            elif row.cancelled.is_set():
                self._waiting.popleft().end("cancelled")
            elif self._batch.admit(row):
                self._waiting.popleft()
            else:
                return

    def _read(self) -> None:
        """A chunk of the prompts that wait to be read."""
        chunk = self._batch.next_to_read()

        def read(part: Rows[tuple[Sequence, int]]) -> Tensor:
            return self._runner.read([row for row, _ in part], [count for _, count in part], self._batch.levels)

        self._step(chunk, read)
        self._batch.promote([row for row, _ in chunk if row.answering])

    def _decode(self) -> None:
        """A token of each row whose prompt was read before this turn."""
        rows = [(row, 1) for row in self._batch.running]
        self._step(rows, lambda part: self._runner.decode([row for row, _ in part]))

    def _step(self, part: Rows[tuple[Sequence, int]], forward: Callable[[Rows[tuple[Sequence, int]]], Tensor]) -> None:
        """Advance rows by so many tokens. What fails is tried again in halves, until only rows that fail alone do."""
        if not part:
            return
        logits = None
        try:
            logits = forward(part)
        except Exception as error:  # out of memory, say: one bad step must not take the engine down
            traceback.clear_frames(error.__traceback__)  # which hold what the step had computed
            if len(part) == 1:
                part[0][0].fail(_failure(error))
        if logits is not None:
            self._take([row for row, _ in part if row.done == len(row.ids)], logits)
        elif len(part) > 1:
            for half in (part[: len(part) // 2], part[len(part) // 2 :]):
                self._step(half, forward)

    def _take(self, rows: Rows[Sequence], logits: Tensor) -> None:
        """The next token of each row, of logits [rows, vocabulary]."""
        try:
            tokens = sample(logits, [r.sampling for r in rows], [r.banned() for r in rows]) if rows else []
        except Exception as error:
            for row in rows:
                row.fail(_failure(error))
            return
        for row, token, scores in zip(rows, tokens, logits, strict=True):
            try:
                if token is None:
                    raise GenerationError("the answer is not finite", "lower the scales of its plugins")
                row.take(token, scores)
            except Exception as error:  # nor may one bad row
                row.fail(_failure(error))

    def _retire(self) -> None:
        for row in self._batch.retire():
            row.end("cancelled")


def _failure(cause: Exception) -> GenerationError:
    if isinstance(cause, GenerationError):
        return cause
    error = GenerationError(f"a step failed: {cause}", "the engine goes on; see the cause")
    error.__cause__ = cause
    return error
