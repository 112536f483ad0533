"""Grammars compiled for one tokenizer, on whatever thread asks, the latest kept."""

from __future__ import annotations

import threading
from collections import OrderedDict

import llguidance.hf
from llguidance import LLMatcher

from ..core import GenerationRequest, ToolRefused, ToolSchema
from ..model import CALL, LoadedModel
from .constraint import Constraint, Vocabulary
from .grammar import grammar_of, lark, opening

KEPT = 256


class Grammars:
    """What keeps answers to a form; safe to call from any thread but the one that computes, which it would hold up.

    Args:
        loaded: whose tokenizer it is.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._lock = threading.Lock()
        self._vocabulary: Vocabulary | None = None
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()

    def constraint(self, request: GenerationRequest) -> Constraint | None:
        """What keeps an answer to the form that a request asks for; None if it asks for none.

        Raises:
            ToolRefused: a schema can't be held by a grammar, or nothing is valid against it.
            GenerationError: ``max_tokens`` is too low for the shortest answer of that form.
        """
        grammar = grammar_of(request)
        if grammar is None:
            return None
        with self._lock:
            words = self._words()
            start = self._kept.get(grammar)
            if start is None:
                start = self._kept[grammar] = self._compile(grammar, request)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(grammar)
        return Constraint(start.deep_copy(), words, request.max_tokens)

    def _compile(self, grammar: str, request: GenerationRequest) -> LLMatcher:
        for tool in request.callable:  # one by one first, so that an error names the tool
            self._check(tool)
        matcher = LLMatcher(self._words().tokens, grammar, log_level=0)
        if matcher.is_error():
            what = "the output" if request.output is not None else ", ".join(t.name for t in request.callable)
            raise ToolRefused(what, *_why(matcher))
        return matcher

    def _check(self, tool: ToolSchema) -> None:
        words = self._words()
        matcher = LLMatcher(words.tokens, lark((tool,), must_call=True, parallel=False), log_level=0)
        if matcher.is_error():
            raise ToolRefused(tool.name, *_why(matcher))
        begun = words.tokens.tokenize_str(CALL + opening(tool))
        if not matcher.consume_tokens(begun) or words.way_out(matcher) is None:
            raise ToolRefused(tool.name, "no call is valid against its schema", "see what its parameters require")

    def _words(self) -> Vocabulary:
        if self._vocabulary is None:
            template, size = self._loaded.template, self._loaded.model.config.vocab_size
            self._vocabulary = Vocabulary(
                llguidance.hf.from_tokenizer(template.tokenizer, size, sorted(template.end_ids)), size
            )
        return self._vocabulary


def _why(matcher: LLMatcher) -> tuple[str, str]:
    said = matcher.get_error().partition("\n")[0].rpartition("JSON schema: ")[2]
    return f"its schema can't be held by a grammar: {said}", "leave that out of the schema and check it in the tool"
