"""Grammars compiled for one tokenizer, on whatever thread asks, the latest kept."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable

import llguidance.hf
from llguidance import LLMatcher

from ..core import GenerationRequest, ToolRefused, ToolSchema
from ..model import LoadedModel
from .constraint import Constraint, Vocabulary, too_short
from .grammar import grammar_of, lark, with_all

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
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def constraint(self, request: GenerationRequest, known: Iterable[str] = ()) -> Constraint | None:
        """What keeps an answer to the form that a request asks for; None if it asks for none.

        Args:
            known: names of the tools that the plugins of its stack have learnt.

        Raises:
            ToolRefused: a schema can't be held by a grammar, or nothing is valid against it.
            GenerationError: ``max_tokens`` is too low for the shortest answer of that form.
        """
        with self._lock:
            lengths = {tool.name: self._lengths(tool) for tool in request.callable}
            tools = tuple(tool for tool in request.callable if lengths[tool.name][0] <= request.max_tokens)
            if request.must_call and not tools:
                raise too_short(min(shortest for shortest, _ in lengths.values()), request.max_tokens)
            grammar = grammar_of(request, tools, set(known) - {tool.name for tool in request.tools})
            if grammar is None:
                return None
            matcher = self._compiled(grammar).deep_copy()
        growth = max((lengths[tool.name][1] for tool in tools), default=0)
        hints = [hint for tool in tools for hint in self._hints(tool)]
        return Constraint(matcher, self._words(), request.max_tokens, growth, hints)

    def _hints(self, tool: ToolSchema) -> list[list[int]]:
        """Beginnings of what a call of a tool requires, whether or not its quote stands there already."""
        names = [json.dumps(name, ensure_ascii=False) + ": " for name in tool.required]
        return [self._words().tokens.tokenize_str(text[cut:]) for text in names for cut in (0, 1)]

    def _compiled(self, grammar: str) -> LLMatcher:
        start = self._kept.get(grammar)
        if start is None:
            start = LLMatcher(self._words().tokens, grammar, log_level=0)
            if start.is_error():
                raise ToolRefused("of the request, or its output", *_why(start))
            self._kept[grammar] = start
        self._kept.move_to_end(grammar)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return start

    def _lengths(self, tool: ToolSchema) -> tuple[int, int]:
        """Tokens of a tool's shortest call, without and with all that is optional."""
        known = self._known.get(tool.digest)
        if known is None:
            words = self._words()
            shortest = self._shortest(tool)
            if shortest is None:
                raise ToolRefused(tool.name, "no call is valid against its schema", "see what its parameters require")
            wide = tool.model_copy(update={"parameters": with_all(tool.parameters)})
            full = LLMatcher(words.tokens, _alone(wide), log_level=0)
            longest = None if full.is_error() else words.way_out(full, ways=1, hints=self._hints(wide))
            known = self._known[tool.digest] = len(shortest), len(longest or shortest)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return known

    def _shortest(self, tool: ToolSchema) -> list[int] | None:
        words = self._words()
        matcher = LLMatcher(words.tokens, _alone(tool), log_level=0)
        if matcher.is_error():
            raise ToolRefused(tool.name, *_why(matcher))
        return words.way_out(matcher, hints=self._hints(tool))

    def _words(self) -> Vocabulary:
        if self._vocabulary is None:
            template, size = self._loaded.template, self._loaded.model.config.vocab_size
            self._vocabulary = Vocabulary(
                llguidance.hf.from_tokenizer(template.tokenizer, size, sorted(template.end_ids)), size
            )
        return self._vocabulary


def _alone(tool: ToolSchema) -> str:
    return lark((tool,), must_call=True, parallel=False)


def _why(matcher: LLMatcher) -> tuple[str, str]:
    said = matcher.get_error().partition("\n")[0].rpartition("JSON schema: ")[2]
    return f"its schema can't be held by a grammar: {said}", "leave that out of the schema and check it in the tool"
