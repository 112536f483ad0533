"""Other ways of remembering, on the same base: nothing, everything in the prompt, the store's lines in the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...base import Base
from ...core import GenerationRequest, Message
from ...memory import Memory, Record
from ...memory.agreement import agrees
from ...memory.recall import UNKNOWN
from .score import mean

TOKENS = 32
LINES = 4  # of the store in a prompt
PROMPT = f"Answer the question in one short sentence from these notes. If they don't say it, answer: {UNKNOWN}\n"
Ask = Callable[[str], GenerationRequest]  # what the base is asked for a question


def nothing(question: str, tokens: int = TOKENS) -> GenerationRequest:
    """The question alone."""
    return GenerationRequest([Message(role="user", content=question)], max_tokens=tokens)


def in_prompt(records: Sequence[Record]) -> Ask:
    """All that was told stands in the prompt."""
    notes = "\n".join(record.text for record in records)
    return lambda question: from_notes(notes, question)


def top_k(memory: Memory, k: int, tokens: int = TOKENS) -> Ask:
    """The nearest lines of the store stand in the prompt."""
    return lambda question: from_notes("\n".join(h.record.text for h in memory.search(question, k)), question, tokens)


def recalled(
    base: Base, name: str, ask: Ask, pairs: Sequence[tuple[Record, str]], strange: Sequence[str]
) -> dict[str, Any]:
    """How many questions a way of remembering answers, how many that it can't, and at what price."""
    replies = base.generate([ask(question) for _, question in pairs])
    unknown = base.generate([ask(question) for question in strange])
    bare = mean(base.count_tokens(nothing(question)) for _, question in pairs)
    return {
        "way": name,
        "questions": len(pairs),
        "recall": mean(agrees(reply.text, record) for reply, (record, _) in zip(replies, pairs, strict=True)),
        "false answers": mean("don't know" not in reply.text for reply in unknown),
        "prompt tokens": mean(reply.usage.prompt_tokens for reply in replies) - bare,
        "from plugin": 0.0,
    }


def from_notes(notes: str, question: str, tokens: int = TOKENS) -> GenerationRequest:
    """The question, with notes before it."""
    messages = [Message(role="system", content=PROMPT + notes), Message(role="user", content=question)]
    return GenerationRequest(messages, max_tokens=tokens)
