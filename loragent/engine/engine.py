"""The only inference: rows with any stacks join and leave one batch between steps."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Rows
from functools import partial
from typing import TypeVar

import torch

from ..core import ContextOverflow, GenerationError, GenerationRequest, Mounted, RowScore, Teacher, TrainingRow, Use
from ..model import LoadedModel, compute
from ..plugin import Plugin
from .lora import Mount
from .runner import Runner
from .sampler import sample
from .sequence import Sequence, Shared
from .slots import Slots

T = TypeVar("T")
MAX_ROWS = 32
MIN_SHARED = 16  # tokens that are worth copying from another row
PREFILL_TOKENS = 4096  # padded tokens that one prefill step reads at most, unless one prompt is longer
STEP_TOKENS = 64  # another step costs about as much as reading that many tokens


class Engine:
    """Owns the model on one thread; callers on any thread submit requests and wait for sequences.

    Args:
        loaded: the shared base.
        resolve: finds a plugin by what a stack entry names.
        max_rows: rows that decode together.
    """

    def __init__(self, loaded: LoadedModel, resolve: Callable[[str], Plugin], max_rows: int = MAX_ROWS) -> None:
        self._loaded, self._resolve, self._max_rows = loaded, resolve, max_rows
        self._slots = Slots(loaded.linear_shapes(), loaded.fingerprint, loaded.device, loaded.dtype)
        self._runner = Runner(loaded, max_rows)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, request: GenerationRequest) -> Sequence:
        """Queue a request. Errors of the request itself are raised here, on the caller's thread.

        Raises:
            PluginNotFound, PluginRefused: an entry of the stack can't be used.
            ContextOverflow: prompt and answer don't fit.
        """
        sequence = self.prepare(request)
        self.enqueue(sequence)
        return sequence

    def enqueue(self, *sequences: Sequence) -> None:
        """Queue what :meth:`prepare` made; sequences that are queued together are read together."""
        with self._wake:
            if self._closed:
                raise GenerationError("this base is closed", "load it again")
            self._waiting.extend(sequences)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="loragent-engine", daemon=True)
                self._thread.start()
                atexit.register(self.close)  # torch aborts when a thread is inside it while Python goes down
            self._wake.notify()

    def prepare(self, request: GenerationRequest) -> Sequence:
        """Tokenise a request and bring its plugins into memory."""
        prompt = self._loaded.template.prompt_ids(request.messages)
        needed, limit = len(prompt) + request.max_tokens, self._loaded.context_length
        if needed > limit:
            raise ContextOverflow(needed, limit)
        entries = [self._mount(use) for use in request.stack]
        stack = tuple(mount for mount, _ in entries)
        return Sequence(request, prompt, stack, tuple(m for _, m in entries), self._loaded.template)

    def score(self, rows: Rows[TrainingRow], stack: Rows[Use] = ()) -> list[RowScore]:
        """Likelihood of the masked tokens of rows under a stack; computed between steps."""

        def measure(row: TrainingRow, logits: torch.Tensor) -> RowScore:
            targets = torch.tensor([t for t, on in zip(row.ids[1:], row.mask[1:], strict=True) if on]).to(logits.device)
            nll = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            return RowScore(float(nll), len(targets), int((logits.argmax(-1) == targets).sum()))

        return self._each_at_targets(rows, stack, measure)

    def teach(self, rows: Rows[TrainingRow], stack: Rows[Use] = (), top: int = 32) -> list[Teacher]:
        """The distribution at the masked tokens of rows, cut to the ``top`` likeliest and renormalised."""

        def keep(row: TrainingRow, logits: torch.Tensor) -> Teacher:
            del row
            best = torch.softmax(logits, -1).topk(top)
            mass = best.values / best.values.sum(-1, keepdim=True)
            return Teacher(tuple(map(tuple, best.indices.tolist())), tuple(map(tuple, mass.tolist())))

        return self._each_at_targets(rows, stack, keep)

    def _each_at_targets(
        self, rows: Rows[TrainingRow], stack: Rows[Use], reduce: Callable[[TrainingRow, torch.Tensor], T]
    ) -> list[T]:
        """What becomes of the logits [targets, vocabulary] of each row, row by row, between steps."""
        mounts = tuple(self._mount(use)[0] for use in stack)

        @torch.inference_mode()
        def read(row: TrainingRow) -> T:
            return reduce(row, self._runner.at_targets([row], mounts))

        return [compute(partial(read, row)) for row in rows]

    def close(self) -> None:
        """Stop the thread; rows in flight end as cancelled."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        atexit.unregister(self.close)

    def _mount(self, use: Use) -> tuple[Mount, Mounted]:
        plugin = self._resolve(use.plugin)
        mounted = Mounted(plugin.name, plugin.version, use.scale, plugin.manifest.sha256)
        return Mount(plugin.key, self._slots.get(plugin), use.scale), mounted

    # -- the engine's thread -----------------------------------------------------------------------

    def _serve(self) -> None:
        while self._work_to_do():
            try:
                compute(self._turn)
            except Exception as error:  # Python goes down, or the fault is ours: nobody must wait for ever
                self._drop(_failure(error))
        for row in (*self._running, *self._waiting):
            row.end("cancelled")

    def _drop(self, error: GenerationError) -> None:
        for row in (*self._running, *self._waiting):
            row.fail(error)
        self._running.clear()
        self._waiting.clear()

    @torch.inference_mode()
    def _turn(self) -> None:
        self._step(self._admit())
        self._retire()

    def _work_to_do(self) -> bool:
        with self._wake:
            while not (self._waiting or self._running or self._closed):
                self._runner.cache.clear()
                self._wake.wait()
            return not self._closed

    def _admit(self) -> list[Sequence]:
        """Rows whose prompts are read in this step, first come first served."""
        admitted: list[Sequence] = []
        width = tokens = 0
        while self._waiting and len(self._running) + len(admitted) < self._max_rows:
            row = self._waiting[0]
            if row.cancelled.is_set():
                self._waiting.popleft().end("cancelled")
                continue
            row.shared = self._best_shared(row)
            fresh = len(row.ids) - row.shared.tokens
            width, tokens = max(width, fresh), tokens + fresh
            if admitted and width * (len(admitted) + 1) > min(PREFILL_TOKENS, tokens + max(STEP_TOKENS, tokens // 4)):
                break  # too much padding
            if any(row.common(other) >= row.shared.tokens + STEP_TOKENS for other in admitted):
                break  # in the next step it need not read what that row reads in this one
            admitted.append(self._waiting.popleft())
        return admitted

    def _best_shared(self, row: Sequence) -> Shared:
        """The running row with the longest beginning in common that is in the cache already."""
        found = [Shared(slot, min(row.common(other), other.done)) for slot, other in enumerate(self._running)]
        best = max(found, key=lambda s: s.tokens, default=Shared())
        return best if best.tokens >= MIN_SHARED else Shared()

    def _step(self, admitted: list[Sequence]) -> None:
        rows = admitted or self._running
        try:
            logits = self._runner.prefill(rows, len(self._running)) if admitted else self._runner.decode(rows)
            tokens = sample(logits, [r.sampling for r in rows], [r.banned() for r in rows])
        except Exception as error:  # one bad step must not take the engine down
            for row in rows:
                row.fail(_failure(error))
        else:
            for row, token in zip(rows, tokens, strict=True):
                try:
                    row.append(token)
                except Exception as error:  # nor may one bad row
                    row.fail(_failure(error))
        self._running += admitted

    def _retire(self) -> None:
        """Let finished rows go; the last row moves into the gap, so that rows stay contiguous."""
        for i in reversed(range(len(self._running))):
            row = self._running[i]
            if row.finish or row.cancelled.is_set():
                last = self._running.pop()
                if i < len(self._running):
                    self._running[i] = last
                    self._runner.cache.copy(len(self._running), i, last.done)
                try:
                    row.end("cancelled")
                except Exception as error:
                    row.fail(_failure(error))


def _failure(cause: Exception) -> GenerationError:
    error = GenerationError(f"a step failed: {cause}", "the engine goes on; see the cause")
    error.__cause__ = cause
    return error
