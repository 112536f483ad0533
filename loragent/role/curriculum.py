"""Role data, or a long prompt, as training rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..base import Base
from ..core import DataError, GenerationRequest, Message, TrainingRow
from ..model import ChatTemplate
from ..training import Example

ANSWER_TOKENS = 192  # a teacher's answer at most


class DialogueCurriculum:
    """Dialogues, with a loss on every trained assistant turn.

    Args:
        path: the data file, for error messages.
        max_tokens: longer rows are cut behind the last whole answer that fits.
        context: of the base, in tokens; a longer dialogue is refused.
    """

    def __init__(
        self, path: Path, examples: Sequence[Example], template: ChatTemplate, *, max_tokens: int, context: int
    ) -> None:
        self._path, self._examples, self._template = path, examples, template
        self._max_tokens, self._context = max_tokens, context
        self.cut: list[int] = []

    @property
    def data_sha256(self) -> str:
        """Digest of the conversations, whatever form they were written in."""
        return _digest(example.messages for example in self._examples)

    def rows(self) -> list[TrainingRow]:
        """All rows; the lines of those that were cut are in ``cut``.

        Raises:
            DataError: a dialogue longer than the context, or without room for one answer.
        """
        self.cut = []
        rows = []
        for example in self._examples:
            for encoded in self._template.training_rows(example.messages):
                row = TrainingRow(tuple(encoded.ids), tuple(encoded.mask), example.line)
                rows.append(self._fitted(row))
        return rows

    def _fitted(self, row: TrainingRow) -> TrainingRow:
        length = len(row.ids)
        if length > self._context:
            raise DataError(
                self._path,
                f"{length} tokens, the context of the base holds {self._context}",
                "split the dialogue",
                row.line,
            )
        if length <= self._max_tokens:
            return row
        ends = [i + 1 for i in range(self._max_tokens) if row.mask[i] and not (i + 1 < length and row.mask[i + 1])]
        if not ends:
            raise DataError(
                self._path,
                f"no whole answer within the first {self._max_tokens} tokens",
                "raise max_tokens or split it",
                row.line,
            )
        self.cut.append(row.line)
        return replace(row, ids=row.ids[: ends[-1]], mask=row.mask[: ends[-1]])


class PromptCurriculum:
    """A long prompt distilled: the base *with* the prompt teaches the plugin *without* it.

    The student learns the teacher's distribution over every token of the teacher's answers (Hinton et al. 2015,
    arXiv 1503.02531; context distillation, Askell et al. 2021, arXiv 2112.00861).

    Args:
        dialogues: queries with the teacher's answers, as :func:`answered` returns them.
    """

    def __init__(self, base: Base, prompt: str, dialogues: Sequence[tuple[Message, ...]]) -> None:
        self._base, self._prompt, self._dialogues = base, prompt, dialogues
        self.cut: list[int] = []

    @property
    def data_sha256(self) -> str:
        """Digest of the prompt and the dialogues."""
        return _digest(self._dialogues, self._prompt)

    def rows(self) -> list[TrainingRow]:
        """One row a query, with the teacher's distributions as targets."""
        system = Message(role="system", content=self._prompt)
        students = [_last_answer(self._base.template, d, line) for line, d in enumerate(self._dialogues, start=1)]
        taught = [_last_answer(self._base.template, (system, *d), 0) for d in self._dialogues]
        teachers = self._base.teach(taught)
        return [replace(row, teacher=teacher) for row, teacher in zip(students, teachers, strict=True)]


def answered(base: Base, prompt: str, queries: Sequence[tuple[Message, ...]]) -> list[tuple[Message, ...]]:
    """The queries with the answers of the base under the prompt; those that it leaves empty are left out."""
    system = Message(role="system", content=prompt)
    answers = base.generate([GenerationRequest((system, *query), max_tokens=ANSWER_TOKENS) for query in queries])
    return [
        (*query, Message(role="assistant", content=answer.raw.strip()))
        for query, answer in zip(queries, answers, strict=True)
        if answer.raw.strip()
    ]


def _digest(dialogues: Iterable[Sequence[Message]], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for dialogue in dialogues:
        for message in dialogue:
            digest.update(message.model_dump_json().encode())
    return digest.hexdigest()


def _last_answer(template: ChatTemplate, dialogue: tuple[Message, ...], line: int) -> TrainingRow:
    """Only the last answer is the teacher's; earlier ones came with the query."""
    context = tuple(m.model_copy(update={"trained": False}) if m.role == "assistant" else m for m in dialogue[:-1])
    encoded = template.training_rows((*context, dialogue[-1]))[-1]
    return TrainingRow(tuple(encoded.ids), tuple(encoded.mask), line)
