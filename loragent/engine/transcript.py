"""The text of tokens that come one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

HALF = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer gives for a character of which tokens are still to come


class Transcript:
    """Decodes only the last few tokens anew: decoding all of them at each token takes ever longer.

    A character may take several tokens, and some tokenizers write a token otherwise at the beginning than behind
    others. So text is settled once it ends in a whole character, and what comes next is what the tokens that gave the
    last of it and those behind them give together, less that last of it.

    Args:
        decode: of token ids.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._settled = ""
        self._before: list[int] = []  # gave the last of what is settled
        self._fresh: list[int] = []

    def add(self, token: int) -> str:
        """The text of all tokens so far, whose last character may still be half a one."""
        self._fresh.append(token)
        known = self._decode(self._before) if self._before else ""
        fresh = self._decode([*self._before, *self._fresh])[len(known) :]
        text = self._settled + fresh
        if fresh and not fresh.endswith(HALF):
            self._settled, self._before, self._fresh = text, self._fresh, []
        return text
