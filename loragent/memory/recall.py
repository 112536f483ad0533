"""Answers from what is remembered, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..core import GenerationRequest, Generator, Message, Usage
from .fact import QA, Fact, Record, plain
from .store import Hit

UNKNOWN = "I don't know."
LINES = 4  # records that are shown with a question, at most
LEAST = 0.45  # cosine of a record and a question that it may answer
ANSWER_TOKENS = 48
PROMPT = "Answer the question in one short sentence from these notes. If they do not say it, answer: I don't know.\n"

NOTHING = Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0.0, total_ms=0.0)


@dataclass(frozen=True, slots=True)
class Recall:
    """An answer from memory.

    Attributes:
        text: the answer; that nothing is known, if so.
        source: who answered: the plugin, the store, or nobody.
        confidence: 0 to 1.
        facts: ids of the records that it rests on.
        version: of the plugin that answered.
        usage: tokens and milliseconds.
    """

    text: str
    source: Literal["plugin", "store", "none"]
    confidence: float = 0.0
    facts: tuple[int, ...] = ()
    version: str = ""
    usage: Usage = NOTHING

    def __str__(self) -> str:
        return self.text


def from_store(question: str, hits: Sequence[Hit], model: Generator) -> Recall:
    """Answer from records that were found; the model reads them, and what it says is held against them."""
    fitting = [hit for hit in hits if hit.score >= LEAST][:LINES]
    if not fitting:
        return Recall(UNKNOWN, "none")
    lines = "".join(f"- {hit.record.text}\n" for hit in fitting)
    messages = [Message(role="system", content=PROMPT + lines), Message(role="user", content=question)]
    (reply,) = model.generate([GenerationRequest(messages, max_tokens=ANSWER_TOKENS)])
    best = fitting[0]
    said = next((hit for hit in fitting if agrees(reply.text, hit.record)), None)
    text = reply.text.strip() if said is not None else sentence(best.record)
    used = said or best
    return Recall(text, "store", max(0.0, min(1.0, used.score)), (used.record.id,), usage=reply.usage)


def agrees(text: str, record: Record) -> bool:
    """Whether an answer says what a record holds, in its words."""
    told = record.told
    value = told.value if isinstance(told, Fact) else told.answer if isinstance(told, QA) else told.note
    return f" {_bare(value)} " in f" {_bare(text)} "


def sentence(record: Record) -> str:
    """A record as an answer."""
    told = record.told
    if isinstance(told, Fact):
        return f"{told.subject}, {told.relation}: {told.value}."
    return told.answer if isinstance(told, QA) else told.note


def _bare(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in plain(text)).split())
