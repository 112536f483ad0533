"""Answers from what is remembered, and where they come from."""

from __future__ import annotations

import math
from dataclasses import replace

from ..base import Base
from ..core import GenerationRequest, Generator, Message, Recall, Use
from ..learning import row_of
from .fact import Fact, Record, says
from .phrases import answer
from .slot import Slot

UNKNOWN = "I don't know."
LEAST = 0.45  # cosine of a note, or of a question with its answer, and what is asked, from which it may answer
ANSWER_TOKENS = 48
PROMPT = "Answer the question in one short sentence from this note.\n"


def from_store(question: str, record: Record, score: float, model: Generator) -> Recall:
    """Answer from a record that was found; the model reads it, and what it says is held against it."""
    messages = [Message(role="system", content=f"{PROMPT}{record.text}"), Message(role="user", content=question)]
    (reply,) = model.generate([GenerationRequest(messages, max_tokens=ANSWER_TOKENS)])
    found = stored(record, score)
    text = reply.text.strip() if agrees(reply.text, record) else found.text
    return replace(found, text=text, usage=reply.usage)


def stored(record: Record, score: float) -> Recall:
    """A record as the store has it; no model is asked."""
    return Recall(answer(record.told), "store", max(0.0, min(1.0, score)), (record.id,))


def from_plugin(question: str, record: Record, slot: Slot, base: Base) -> tuple[Recall | None, bool]:
    """Answer from a plugin that holds a record, without a word of it in the prompt; None if it isn't sure, or says
    something else than the record. And whether it said the same.
    """
    plugin = slot.plugin
    if plugin is None:
        return None, True
    asked, stack = Message(role="user", content=question), [Use(plugin.path)]
    (reply,) = base.generate([GenerationRequest([asked], stack, max_tokens=ANSWER_TOKENS)])
    text = reply.text.strip()
    if not agrees(text, record):
        return None, False
    row = row_of(base.template, (asked, Message(role="assistant", content=text)))
    (score,) = base.score([row], stack)
    probability = math.exp(-score.nll / score.tokens)
    if probability < slot.registry().sure:
        return None, True
    return Recall(text, "plugin", probability, (record.id,), str(plugin), reply.stack, reply.usage), True


def nothing() -> Recall:
    """That nothing is known."""
    return Recall(UNKNOWN, "none")


def agrees(text: str, record: Record) -> bool:
    """Whether an answer says what a record holds, in its words."""
    told = record.told
    return says(text, told.value if isinstance(told, Fact) else answer(told))
