"""A long prompt as training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..base import Base
from ..core import GenerationRequest, Message, TrainingRow
from ..learning import digest_of
from ..model import ChatTemplate

ANSWER_TOKENS = 192  # a teacher's answer at most


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
        return digest_of(self._dialogues, self._prompt)

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


def _last_answer(template: ChatTemplate, dialogue: tuple[Message, ...], line: int) -> TrainingRow:
    """Only the last answer is the teacher's; earlier ones came with the query."""
    context = tuple(m.model_copy(update={"trained": False}) if m.role == "assistant" else m for m in dialogue[:-1])
    encoded = template.training_rows((*context, dialogue[-1]))[-1]
    return TrainingRow(tuple(encoded.ids), tuple(encoded.mask), line)
