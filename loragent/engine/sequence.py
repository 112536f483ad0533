"""One row in flight: its tokens, its settings, and how its text comes out."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from functools import partial

import torch
from torch import Tensor

from ..core import GenerationRequest, GenerationTimeout, Mounted, Reply, Usage
from ..model import CALL, ChatTemplate
from .constraint import Constraint
from .lora import Stack
from .prefix import NO_MEMORY, StackKey, Trunk, alike, common
from .sampler import Sampling, log_probability, sample_among
from .transcript import HALF, Transcript


class Sequence:
    """A request on its way to a reply.

    Attributes:
        ids: prompt and answer, as token ids.
        done: how many of them are in the key-value cache.
        slot: where in the cache they lie.
        stack_key: identifies the exact stack: the plugins' hashes, scales, and from which token they apply.
        floor: the lowest layer that the stack touches.
        trunk: what is known of the layers below some level, and for how many tokens of this row.
        tapped: hidden states of the tokens that were read so far, by level, for a trunk to be.
        finish: why it ended; empty while it runs.
        logprobs: of the answer's tokens, if the request wants to know.

    Args:
        asked: when the caller asked, by :func:`time.perf_counter`; by default now. Times are counted from there.
        constraint: the form that the answer keeps to.
        told: names of the tools that the prompt tells of.
    """

    def __init__(
        self,
        request: GenerationRequest,
        prompt: list[int],
        stack: Stack,
        mounted: tuple[Mounted, ...],
        template: ChatTemplate,
        floor: int = 0,
        asked: float | None = None,
        constraint: Constraint | None = None,
        told: tuple[str, ...] = (),
    ) -> None:
        self.request, self.stack, self.mounted = request, stack, mounted
        self.ids, self.done, self.finish = list(prompt), 0, ""
        self.prompt_tokens = len(prompt)
        self.slot = -1
        self.stack_key: StackKey = tuple((m.key, m.scale, m.start) for m in stack)
        self.floor = floor
        self.trunk: tuple[Trunk, int] | None = None
        self.tapped: dict[int, list[Tensor]] = {}
        self.cancelled = threading.Event()
        self._template, self._constraint, self._told = template, constraint, told
        generator = torch.Generator()  # of its own: a training run may be in the middle of using torch's
        if request.seed is not None:
            generator.manual_seed(request.seed)
        elif request.temperature:
            generator.seed()
        self.sampling = Sampling(request.temperature, request.top_p, generator)
        self._submitted = time.perf_counter() if asked is None else asked
        self._first_token = 0.0
        self._transcript, self._text, self._shown = Transcript(template.decode), "", 0
        self.logprobs: list[float] = []
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._future: Future[Reply] = Future()

    # -- the engine's side -------------------------------------------------------------------------

    def common(self, other: Sequence) -> int:
        """Tokens at the beginning that another row has too, under the same stack; never all: the last is read anew."""
        limit = alike(self.stack_key, other.stack_key)
        return common(self.ids, other.ids, min(len(self.ids) - 1, limit)) if limit else 0

    @property
    def level(self) -> int:
        """The layer from which the next tokens are to be read: 0, or that of the trunk that is known of them."""
        return self.trunk[0].level if self.trunk is not None and self.done < self.trunk[1] else 0

    @property
    def held(self) -> int:
        """Tokens of which keys and values lie in the slot, if only those of the lower layers."""
        return max(self.done, self.trunk[1] if self.trunk is not None else 0)

    @property
    def mounts(self) -> Stack:
        """The plugins that apply to the next token."""
        return tuple(m for m in self.stack if m.start <= self.done) if self.stack else self.stack

    def tap(self, hidden: dict[int, Tensor]) -> None:
        """Remember hidden states [tokens, d] of the next tokens, at levels that no plugin of this row lies below."""
        try:
            for level, x in hidden.items():
                if level <= self.floor and sum(map(len, self.tapped.get(level, []))) == self.done:
                    self.tapped.setdefault(level, []).append(x.clone())
        except NO_MEMORY:  # a trunk may be missed: no row may fail for it
            self.tapped.clear()

    def unread(self) -> int:
        """Tokens that can be read in one go: under the same plugins, and from the same level."""
        ends = [m.start for m in self.stack if m.start > self.done]
        if self.level and self.trunk is not None:
            ends.append(self.trunk[1])
        return min([len(self.ids), *ends]) - self.done

    @property
    def answering(self) -> bool:
        """Whether the prompt was read and the answer has begun."""
        return len(self.ids) > self.prompt_tokens

    def banned(self) -> list[int]:
        """End-of-turn tokens, as long as the answer is shorter than ``min_tokens``."""
        short = len(self.ids) - self.prompt_tokens < self.request.min_tokens
        return sorted(self._template.end_ids) if short else []

    def take(self, token: int, logits: Tensor) -> None:
        """Go on with a token, or with what the row's form allows in its place.

        Args:
            logits: [vocabulary], which it was sampled from; changed in place.
        """
        form, allowed = self._constraint, None
        if form is not None:
            allowed = form.allowed() if self.request.logprobs else None
            left = self.request.max_tokens - (len(self.ids) - self.prompt_tokens) - 1
            token = form.next(token, left, partial(sample_among, logits, self.sampling))
        if self.request.logprobs:
            self.logprobs.append(log_probability(logits, token, allowed))
        self.append(token)

    def append(self, token: int) -> None:
        """Take the next token and decide whether the answer is whole."""
        self._first_token = self._first_token or time.perf_counter()
        self.ids.append(token)
        self._text = self._transcript.add(token)
        cut = min((at for s in self.request.stop if (at := self._words().find(s)) >= 0), default=-1)
        if cut >= 0:
            self._text = self._text[:cut]
        if token in self._template.end_ids or cut >= 0 or (self._constraint is not None and self._constraint.whole):
            self.finish = "stop"
        elif len(self.ids) - self.prompt_tokens >= self.request.max_tokens:
            self.finish = "length"
        self._show()

    def _words(self) -> str:
        """Where stop strings count: not in a call or a typed result, which have to be whole."""
        if self._constraint is None:
            return self._text
        return "" if self.request.output is not None else self._text.split(CALL, 1)[0]

    def check_time(self) -> None:
        """Give up once the row's time is over."""
        limit = self.request.timeout
        if limit is not None and not self.finish and time.perf_counter() - self._submitted > limit:
            self.fail(GenerationTimeout(limit, self._text))

    def end(self, reason: str = "") -> None:
        """Hand over the reply."""
        self.finish = self.finish or reason
        try:
            reply = self._reply()
        except Exception as error:  # a typed result that its model refuses, say
            self.fail(error)
        else:
            self._settle(lambda: self._future.set_result(reply))

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
            held = max((_overlap(text, s) for s in (*self.request.stop, CALL)), default=0)
            text = text[: len(text) - held].rstrip(HALF)
        text = text.split(CALL, 1)[0]
        if len(text) > self._shown:
            self._pieces.put(text[self._shown :])
            self._shown = len(text)

    def _reply(self) -> Reply:
        now = time.perf_counter()
        text, calls = self._template.parse(self._text)
        if self._constraint is not None and self.request.output is None:  # a tool out of scope was named
            text = text.partition(CALL)[0].rstrip()
        usage = Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=len(self.ids) - self.prompt_tokens,
            first_token_ms=((self._first_token or now) - self._submitted) * 1e3,
            total_ms=(now - self._submitted) * 1e3,
        )
        answer = tuple(self.ids[self.prompt_tokens :])
        data = None if calls or self.finish == "cancelled" else self.request.read(text)
        return Reply(
            text,
            self.mounted,
            usage,
            calls,
            self.finish,
            raw=self._text,
            data=data,
            told=self._told,
            token_ids=answer,
            logprobs=tuple(self.logprobs),
        )


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that ``stop`` may still begin with."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
