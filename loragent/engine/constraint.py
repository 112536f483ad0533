"""One row's way through its grammar, so that it always ends with something whole."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from torch import Tensor

from ..core import GenerationError

LONGEST = 4096  # tokens that the shortest end of anything may have
WAYS = 24  # that are tried at most
MARGIN = 32  # tokens beyond what was needed last: so close to the end, a way out is always known
LOOK = 16  # tokens: so often before that
# What an address or a time needs comes before the letters, of which it may hold but so many.
_CLOSING = [*".-:_,/+ TZ", *string.digits, *string.ascii_lowercase, *string.ascii_uppercase, *"{["]


class Vocabulary:
    """A tokenizer as grammars see it.

    Attributes:
        tokens: llguidance's view of it.
        size: of the logits.
    """

    def __init__(self, tokens: LLTokenizer, size: int) -> None:
        self.tokens, self.size = tokens, size
        self.ends = frozenset(tokens.eos_tokens)
        single = [tokens.greedy_tokenize(text) for text in _CLOSING]
        self._closing = [ids[0] for ids in single if len(ids) == 1]
        self._letter, *self._ends = (tokens.greedy_tokenize(text)[0] for text in 'a}]"@')

    def allowed(self, matcher: LLMatcher) -> Tensor:
        """Which tokens may come next, [vocabulary], bool."""
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        return torch.from_numpy(bits[: self.size].astype(np.bool_))

    def way_out(
        self, matcher: LLMatcher, most: int = LONGEST, ways: int | None = None, hints: Sequence[list[int]] = ()
    ) -> list[int] | None:
        """Few tokens after which an answer is whole; None if none of the ways that are tried takes at most ``most``.

        A way closes strings and brackets where it can, and else takes turns, so that no pattern holds it for ever; the
        next way begins with another turn, and so with another tool, where there is a choice. So many ways are tried, by
        default all.

        Args:
            hints: beginnings of what is required, which are taken where they can be.
        """
        found = (self._way(matcher.deep_copy(), most, turn, hints) for turn in range(ways or WAYS))
        return next((way for way in found if way is not None), None)

    def _way(self, matcher: LLMatcher, most: int, turn: int, hints: Sequence[list[int]]) -> list[int] | None:
        found: list[int] = []
        hints = list(hints)
        while not matcher.is_accepting():
            tokens = matcher.compute_ff_tokens()
            if not tokens:
                tokens = next((hint for hint in hints if matcher.validate_tokens(hint) == len(hint)), [])
                hints = [hint for hint in hints if hint is not tokens]  # another tool's may be of no use here for ever
            if not tokens:
                tokens, turn = [self._one(matcher, turn)], turn + 1
            if len(found) + len(tokens) > most or matcher.try_consume_tokens(tokens) < len(tokens):
                return None
            found += tokens
        return found

    def _one(self, matcher: LLMatcher, turn: int) -> int:
        mask = matcher.compute_bitmask()  # no tensor: callers' threads come here too, where torch has no business
        at = turn % len(self._closing)
        in_string = mask[self._letter >> 3] >> (self._letter & 7) & 1  # where brackets may be letters
        ends = self._ends[2:] if in_string else self._ends
        for token in (*ends, *self._closing[at:], *self._closing[:at]):
            if mask[token >> 3] >> (token & 7) & 1:
                return token
        byte = next((n for n, bits in enumerate(mask) if bits), 0)
        return 8 * byte + max(0, (mask[byte] & -mask[byte]).bit_length() - 1)


def too_short(needed: int, most: int) -> GenerationError:
    """The error where the shortest answer of a form takes more tokens than there may be."""
    return GenerationError(f"an answer of that form needs {needed} tokens, max_tokens is {most}", "raise max_tokens")


class Constraint:
    """Follows one answer. Use it on one thread at a time.

    Args:
        matcher: of its own, at the grammar's beginning.
        most: tokens of the answer.
        growth: tokens by which what is left to say may grow with one token: of the longest call, with all that is
            optional.
        hints: see :meth:`Vocabulary.way_out`.

    Raises:
        GenerationError: no answer of that form is so short.
    """

    def __init__(
        self, matcher: LLMatcher, vocabulary: Vocabulary, most: int, growth: int = 0, hints: Sequence[list[int]] = ()
    ) -> None:
        self._matcher, self._vocabulary, self._growth, self._hints = matcher, vocabulary, growth, hints
        shortest = vocabulary.way_out(matcher, most, hints=hints)
        if shortest is None:
            raise too_short(len(vocabulary.way_out(matcher, hints=hints) or ()), most)
        self._way: list[int] | None = shortest  # out of here; None if it was not looked for
        self._needed = len(shortest)  # when it was looked for last
        self._since = 0
        self._leaving = False  # there is no time for anything else

    @property
    def whole(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self._matcher.is_stopped())

    def allowed(self) -> Tensor:
        """Which tokens may come next, [vocabulary], bool."""
        return self._vocabulary.allowed(self._matcher)

    def next(self, token: int, left: int, among: Callable[[Tensor], int | None]) -> int:
        """Take a token.

        Args:
            token: what the model says.
            left: how many may follow.
            among: what it says, of those that a mask [vocabulary] allows; None if it can't say.

        Returns:
            ``token`` if the grammar allows it and there is time to end what it begins.
        """
        if self._leaving:
            return self._take(self._way_on(left))
        if not self._matcher.validate_tokens([token]):
            said = among(self.allowed())
            token = min(self._vocabulary.ends) if said is None else said
        if token not in self._vocabulary.ends and not self._can_end_after(token, left):
            self._leaving = True
            token = self._way_on(left)
        return self._take(token)

    def _take(self, token: int) -> int:
        if not self._matcher.consume_token(token):
            raise GenerationError(f"the grammar is stuck: {self._matcher.get_error()[:200]}", "simplify the schema")
        return token

    def _can_end_after(self, token: int, left: int) -> bool:
        """Whether there is time to end what a token begins; then the way out is known, or there is plenty of time.

        It is mostly what it was before, or that without its first token: to try one is cheap, to find one is not.
        """
        way = self._way
        if way and way[0] == token:
            self._way = way[1:]
            return True
        after = self._matcher.deep_copy()
        after.consume_token(token)
        self._since += 1
        if way is None or len(way) > left or not self._leads_out(after, way):
            if left > self._needed + 2 * self._growth + MARGIN and self._since < LOOK:
                self._way = None
                return True
            way = self._vocabulary.way_out(after, left, 1, self._hints)
            self._since = 0
        if way is not None:
            self._way, self._needed = way, len(way)
        return way is not None

    def _leads_out(self, matcher: LLMatcher, way: list[int]) -> bool:
        whole = [*way, min(self._vocabulary.ends)]
        return bool(matcher.validate_tokens(whole) == len(whole))

    def _way_on(self, left: int) -> int:
        """The next token of a way out of at most ``left`` tokens and this one."""
        if self._way is None:
            self._way = self._vocabulary.way_out(self._matcher, left + 1, hints=self._hints)
        if self._way is None:
            raise GenerationError("an answer of the asked form could not be ended", "simplify the schema")
        if not self._way:
            return min(self._vocabulary.ends)
        token, *self._way = self._way
        return token
