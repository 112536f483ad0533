"""Conversations as training rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..core import DataError, Message, ToolSchema, TrainingRow
from ..model import ChatTemplate
from ..training import Example


class DialogueCurriculum:
    """Dialogues, with a loss on every trained assistant turn.

    Args:
        path: the data file, for error messages.
        max_tokens: longer rows are cut behind the last whole answer that fits.
        context: of the base, in tokens; a longer dialogue is refused.
        told: the tools that an example's prompt tells of; by default those that its row brings.
    """

    def __init__(
        self,
        path: Path,
        examples: Sequence[Example],
        template: ChatTemplate,
        *,
        max_tokens: int,
        context: int,
        told: Callable[[Example], Sequence[ToolSchema]] | None = None,
    ) -> None:
        self._path, self._examples, self._template = path, examples, template
        self._max_tokens, self._context = max_tokens, context
        self._told = told or _own_tools
        self.cut: list[int] = []

    @property
    def data_sha256(self) -> str:
        """Digest of the conversations and of the tools that they tell of, whatever form they were written in."""
        told = "".join(tool.digest for example in self._examples for tool in self._told(example))
        return digest_of((example.messages for example in self._examples), told)

    def rows(self) -> list[TrainingRow]:
        """All rows; the lines of those that were cut are in ``cut``.

        Raises:
            DataError: a dialogue longer than the context, or without room for one answer.
        """
        self.cut = []
        rows = []
        for example in self._examples:
            for encoded in self._template.training_rows(example.messages, self._told(example)):
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


def _own_tools(example: Example) -> Sequence[ToolSchema]:
    return example.tools


def row_of(template: ChatTemplate, messages: Sequence[Message]) -> TrainingRow:
    """A conversation with one answer as a row with a loss on that answer."""
    (encoded,) = template.training_rows(messages)
    return TrainingRow(tuple(encoded.ids), tuple(encoded.mask))


def prose_row(template: ChatTemplate, text: str, most: int | None = None) -> TrainingRow:
    """A text as it stands, or its first tokens, as a row with a loss on all of it."""
    ids = template.ids(text)[:most]
    return TrainingRow(tuple(ids), (False, *[True] * (len(ids) - 1)))


def digest_of(dialogues: Iterable[Sequence[Message]], text: str = "") -> str:
    """sha256 of a text and of conversations, in hex."""
    digest = hashlib.sha256(text.encode())
    for dialogue in dialogues:
        for message in dialogue:
            digest.update(message.model_dump_json().encode())
    return digest.hexdigest()
