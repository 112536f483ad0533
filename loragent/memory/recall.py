"""Answers from what is remembered, and where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..base import Base
from ..core import GenerationRequest, Generator, Message, Recall
from .agreement import agrees, rests_on
from .fact import Fact, Note, Record, Told
from .phrases import answer
from .slot import Slot, asked_as

UNKNOWN = "I don't know."
LEAST = 0.45  # cosine of a note, or of a question with its answer, and what is asked, from which it may answer
ANSWER_TOKENS = 48  # of an answer, or as many as what was told has, and some
SPARE = 8
PROMPT = "Answer the question in one short sentence from these notes.\n"


@dataclass(frozen=True, slots=True)
class Found:
    """What a question is about, as the store or the matcher found it.

    Attributes:
        records: one fact, or one question with its answer, or as many notes as come near.
        lines: what of them is to be read, the nearest first.
        score: of the nearest.
        question: as a plugin is to be asked it, with names.
    """

    records: tuple[Record, ...]
    lines: tuple[str, ...]
    score: float
    question: str


def from_store(question: str, found: Found, model: Generator) -> Recall:
    """Answer from what was found; the model reads it, and what it says is held against it."""
    messages = [
        Message(role="system", content=PROMPT + "\n".join(found.lines)),
        Message(role="user", content=question),
    ]
    (reply,) = model.generate([GenerationRequest(messages, max_tokens=ANSWER_TOKENS)])
    text, told = reply.text.strip(), found.records[0].told
    if isinstance(told, Note):
        text = text if rests_on(text, " ".join((question, *found.lines))) else found.lines[0]
    elif not agrees(text, found.records[0]):
        text = answer(told)
    return replace(stored(found), text=text, usage=reply.usage)


def stored(found: Found) -> Recall:
    """What was found as the store has it; no model is asked."""
    first = found.records[0].told
    text = "\n".join(found.lines) if isinstance(first, Note) else answer(first)
    score, records = max(0.0, min(1.0, found.score)), tuple(record.id for record in found.records)
    return Recall(text, "store", score, records, value=_value(first))


def from_plugin(question: str, record: Record, slot: Slot, base: Base) -> tuple[Recall | None, bool]:
    """Answer from a plugin that holds a record, without a word of it in the prompt; None if it isn't sure, or says
    something else than the record. And whether it said the same.
    """
    mounted = slot.mounted()
    if mounted is None:
        return None, True
    plugin, registry = mounted
    asked, stack = Message(role="user", content=question), [asked_as(plugin, registry)]
    request = GenerationRequest([asked], stack, max_tokens=tokens_for(base, record), logprobs=True)
    (reply,) = base.generate([request])
    text = reply.text.strip()
    if not agrees(text, record):
        return None, False
    probability = math.exp(sum(reply.logprobs) / len(reply.logprobs))
    if probability < registry.sure:
        return None, True
    found = Recall(
        text, "plugin", probability, (record.id,), str(plugin), reply.stack, reply.usage, _value(record.told)
    )
    return found, True


def _value(told: Told) -> str:
    return told.value if isinstance(told, Fact) else ""


def tokens_for(base: Base, record: Record) -> int:
    """Tokens in which a record can be answered."""
    return max(ANSWER_TOKENS, len(base.template.ids(answer(record.told))) + SPARE)


def nothing() -> Recall:
    """That nothing is known."""
    return Recall(UNKNOWN, "none")
