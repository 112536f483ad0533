"""One row in flight: its tokens, its settings, and how its text comes out."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from typing import NamedTuple

import torch

from ..core import GenerationRequest, Mounted, Reply, Usage
from ..model import ChatTemplate
from .lora import Stack
from .sampler import Sampling

_CALL = "<tool_call>"


class Shared(NamedTuple):
    """How many tokens a row has in common with the running row of a slot."""

    slot: int = 0
    tokens: int = 0


class Sequence:
    """A request on its way to a reply.

    Attributes:
        ids: prompt and answer, as token ids.
        done: how many of them are in the key-value cache.
        shared: the running row that begins alike, whose keys and values are copied when this one is admitted.
        finish: why it ended; empty while it runs.
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt: list[int],
        stack: Stack,
        mounted: tuple[Mounted, ...],
        template: ChatTemplate,
    ) -> None:
        self.request, self.stack, self.mounted = request, stack, mounted
        self.ids, self.done, self.finish = list(prompt), 0, ""
        self.prompt_tokens = len(prompt)
        self.shared = Shared()
        self.cancelled = threading.Event()
        self._template = template
        seed = request.seed
        generator = torch.Generator().manual_seed(seed) if seed is not None else None
        self.sampling = Sampling(request.temperature, request.top_p, generator)
        self._submitted = time.perf_counter()
        self._first_token = 0.0
        self._text, self._shown = "", 0
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._future: Future[Reply] = Future()

    # -- the engine's side -------------------------------------------------------------------------

    def common(self, other: Sequence) -> int:
        """Tokens at the beginning that another row has too, under the same stack; never all: the last is read anew."""
        if [(m.key, m.scale) for m in self.stack] != [(m.key, m.scale) for m in other.stack]:
            return 0
        known, last = 0, min(len(self.ids) - 1, len(other.ids))
        while known < last:  # by halving, since comparing slices is quick
            middle = (known + last + 1) // 2
            known, last = (middle, last) if self.ids[known:middle] == other.ids[known:middle] else (known, middle - 1)
        return known

    def banned(self) -> list[int]:
        """End-of-turn tokens, as long as the answer is shorter than ``min_tokens``."""
        short = len(self.ids) - self.prompt_tokens < self.request.min_tokens
        return sorted(self._template.end_ids) if short else []

    def append(self, token: int) -> None:
        """Take the next token and decide whether the answer is whole."""
        self._first_token = self._first_token or time.perf_counter()
        self.ids.append(token)
        self._text = self._template.decode(self.ids[self.prompt_tokens :])
        cut = min((at for s in self.request.stop if (at := self._text.find(s)) >= 0), default=-1)
        if cut >= 0:
            self._text = self._text[:cut]
        if token in self._template.end_ids or cut >= 0:
            self.finish = "stop"
        elif len(self.ids) - self.prompt_tokens >= self.request.max_tokens:
            self.finish = "length"
        self._show()

    def end(self, reason: str = "") -> None:
        """Hand over the reply."""
        self.finish = self.finish or reason
        self._settle(lambda: self._future.set_result(self._reply()))

    def fail(self, error: BaseException) -> None:
        """Hand over an error instead."""
        self.finish = "error"
        self._settle(lambda: self._future.set_exception(error))

    def _settle(self, hand_over: Callable[[], None]) -> None:
        with contextlib.suppress(InvalidStateError):  # the caller has given up waiting
            hand_over()
        self._pieces.put(None)

    # -- the caller's side -------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> Reply:
        """Wait for the reply (seconds)."""
        return self._future.result(timeout)

    @property
    def future(self) -> Future[Reply]:
        """For asyncio callers."""
        return self._future

    def pieces(self) -> Iterator[str]:
        """Text as it comes; a caller that stops listening cancels the row."""
        try:
            while (piece := self._pieces.get()) is not None:
                yield piece
        finally:
            if not self.finish:
                self.cancelled.set()

    def _show(self) -> None:
        """Emit what can't change any more: not a half character, half a stop string or a tool call."""
        text = self._text
        if not self.finish:
            held = max((_overlap(text, s) for s in (*self.request.stop, _CALL)), default=0)
            text = text[: len(text) - held].rstrip("�")
        text = text.split(_CALL, 1)[0]
        if len(text) > self._shown:
            self._pieces.put(text[self._shown :])
            self._shown = len(text)

    def _reply(self) -> Reply:
        now = time.perf_counter()
        text, calls = self._template.parse(self._text)
        usage = Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=len(self.ids) - self.prompt_tokens,
            first_token_ms=((self._first_token or now) - self._submitted) * 1e3,
            total_ms=(now - self._submitted) * 1e3,
        )
        answer = tuple(self.ids[self.prompt_tokens :])
        return Reply(text, self.mounted, usage, calls, self.finish, raw=self._text, token_ids=answer)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` may still begin with."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
