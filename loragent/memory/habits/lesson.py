"""A lesson on habits: conversations answered as a user wants to be answered, until a plugin does it unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from ...base import Base
from ...core import Message, RowScore, TrainingRow, Use
from ...learning import digest_of, row_of
from ..fact import Record
from ..general import general
from .everyday import everyday
from .language import ENGLISH
from .manner import Manner, manner_of
from .units import METRIC, measured
from .voice import Practice, Voice, said

SPOKEN = 1.5  # times the nats a letter of English, up to which a base speaks another language
KEPT = 0.8  # of the answers that can show it, from which a habit is kept
PASSES = 3  # over all rows
ROLE_PASSES = 2  # where a role is taught: it has more answers
ROLE_SETTINGS = {"learning_rate": 7e-4}  # few of its words are to change; the rate of facts spoils the others


class HabitLesson:
    """The habits of one user that a voice can learn, all in every row, for an answer has one manner.

    Args:
        habits: by the part of the manner.
        voice: whose answers are to have it, with just the versions that it shall be mounted with.
    """

    asked = False  # it is mounted on all that is said
    old: Sequence[Record] = ()  # a manner is learnt as a whole: another habit makes other answers

    def __init__(self, base: Base, habits: Mapping[str, Record], voice: Voice) -> None:
        self._base, self._habits, self._manner = base, habits, manner_of(habits.values())
        self._voice, self.beneath = voice, voice.stack
        self.settings: Mapping[str, float] = ROLE_SETTINGS if voice.stack else {}
        self._held, self.judged = general(base.template, prose=True)
        self.new = list(habits.values())

    @property
    def data_sha256(self) -> str:
        """Digest of the conversations."""
        return digest_of(map(_dialogue, self._practices[0]), "")

    def rows(self) -> list[TrainingRow]:
        """Conversations with an answer in this manner, and prose held to what is said without it (a KL term)."""
        teachers = self._base.teach(self._held, self.beneath)
        taught = [row_of(self._base.template, _dialogue(practice)) for practice in self._practices[0]]
        held = [replace(row, teacher=teacher) for row, teacher in zip(self._held, teachers, strict=True)]
        return (taught + held) * (ROLE_PASSES if self._voice.stack else PASSES)

    def alone(self) -> list[RowScore]:
        """What is scored on the rows to judge by without this manner."""
        return self._base.score(self.judged, self.beneath)

    def known(self, plugin: Use) -> frozenset[int]:
        """Ids of the habits that a plugin keeps in conversations that were never trained."""
        _, checked = self._practices
        replies = said(self._base, [practice.scene for practice in checked], [*self.beneath, plugin])
        parts = [practice.parts for practice in checked]
        kept = kept_shares(self._manner, parts, [reply.text.strip() for reply in replies])
        return frozenset(record.id for part, record in self._habits.items() if kept.get(part, 0.0) >= KEPT)

    def sure(self, plugin: Use, known: frozenset[int]) -> float:
        """A manner isn't believed or not."""
        del plugin, known
        return 0.0

    @cached_property
    def _practices(self) -> tuple[list[Practice], list[Practice]]:
        return self._voice.practices(self._base, self._manner)


def speaks(base: Base, language: str) -> bool:
    """Whether a base finds answers in a language about as likely as the same in English, letter by letter."""
    _, lines = everyday()

    def nats(of: str) -> float:
        texts = [measured(line.answers[of], METRIC, of) for line in lines]
        asked = [Message(role="user", content=line.question) for line in lines]
        answers = [Message(role="assistant", content=text) for text in texts]
        scores = base.score([row_of(base.template, pair) for pair in zip(asked, answers, strict=True)])
        return sum(score.nll for score in scores) / sum(map(len, texts))

    return language == ENGLISH or nats(language) <= SPOKEN * nats(ENGLISH)


def kept_shares(manner: Manner, parts: Sequence[Sequence[str]], answers: Sequence[str]) -> dict[str, float]:
    """By the parts of a manner: the share of the answers that keep to it, of those that can show it.

    Args:
        parts: what each answer can show.
    """
    found: dict[str, list[bool]] = {}
    for shown, text in zip(parts, answers, strict=True):
        for part in shown:
            found.setdefault(part, []).append(manner.keeps(part, text))
    return {part: sum(kept) / len(kept) for part, kept in found.items()}


def _dialogue(practice: Practice) -> tuple[Message, ...]:
    return (*practice.scene, practice.answer)
