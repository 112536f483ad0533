"""Conversations told as they are (BFCL's memory sessions), and questions on them (Apache-2.0, see ``--data``)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...base import Base
from ...core import DataError
from ...memory import Memory
from .rivals import LINES, from_notes
from .score import mean

DOCUMENTS, QUESTIONS = "documents.jsonl", "test_questions.jsonl"
_LEFT_OUT = re.compile(r"[,./\-_*^()]")


def documents(base: Base, memory: Memory, data: Path) -> list[dict[str, Any]]:
    """A row for each way of answering: the share of answers that hold an accepted one as whole words."""
    said: dict[str, list[str]] = {}
    for session in _rows(data / DOCUMENTS):
        texts = [message["content"] for message in session["messages"]]
        memory.remember(texts, user=session["memory_owner"], source=session["topic"])
        said.setdefault(session["memory_owner"], []).extend(texts)
    asked = [(row["memory_owner"], row["messages"][0]["content"], row["answers"]) for row in _rows(data / QUESTIONS)]
    recalls = [memory.ask(question, user=owner) for owner, question, _ in asked]
    rows = [_row("memory", [recall.text for recall in recalls], asked, [r.usage.prompt_tokens for r in recalls])]

    def lines(owner: str, question: str) -> str:
        return "\n".join(hit.line for hit in memory.search(question, LINES, user=owner))

    def everything(owner: str, question: str) -> str:
        del question
        return _last_that_fit(base, said[owner])

    for name, notes in ((f"store, {LINES} lines", lines), ("everything that fits", everything)):
        rows.append(_read(base, name, notes, asked))
    return rows


def _read(
    base: Base, name: str, notes: Callable[[str, str], str], asked: Sequence[tuple[str, str, list[str]]]
) -> dict[str, Any]:
    """The base answers from notes that stand in its prompt."""
    requests = [from_notes(notes(owner, question), question) for owner, question, _ in asked]
    replies = base.generate(requests)
    return _row(name, [reply.text for reply in replies], asked, [reply.usage.prompt_tokens for reply in replies])


def _row(
    name: str, answers: Sequence[str], asked: Sequence[tuple[str, str, list[str]]], tokens: Sequence[int]
) -> dict[str, Any]:
    right = mean(accepted(text, wanted) for text, (_, _, wanted) in zip(answers, asked, strict=True))
    return {"way": name, "questions": len(asked), "right": right, "prompt tokens": mean(tokens)}


def accepted(text: str, wanted: Sequence[str]) -> bool:
    """Whether an accepted answer stands in a text as whole words, as BFCL's checker of agents compares them."""
    found = _plain(text)
    return any(re.search(rf"\b{re.escape(_plain(answer))}\b", found) for answer in wanted)


def _plain(text: str) -> str:
    return _LEFT_OUT.sub("", text).lower()


def _last_that_fit(base: Base, texts: Sequence[str]) -> str:
    """The newest texts, as many as half of the context has room for."""
    room, kept = base.context_length // 2, []
    for text in reversed(texts):
        room -= len(base.template.ids(text)) + 1
        if room < 0:
            break
        kept.append(text)
    return "\n".join(reversed(kept))


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(path, f"can't be read: {error}", "point --data at the folder bfcl_memory") from error
