"""What a memory holds: facts, questions with their answers, notes; and what it knows of each."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from ..core import MemoryFault

FIRST_PERSON = "I"  # the subject of what somebody without a name says of himself
SMALL = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but so of in on at to for from by with as is are was were be been has have had do does did "
        "will would can his her its their our your my i he she it they we you that this these those there then now "
        "also too please hello hi dear thanks thank remember note called named name s m re ve ll d",
    )
)  # words that say nothing by themselves
MOST_CHARACTERS = 20_000  # of one text; longer ones are split by who tells them


class _Told(BaseModel):
    """Frozen; texts are trimmed.

    Raises:
        MemoryFault: a text is empty or too long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    valid_from: datetime | None = None

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_kept(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and not 0 < len(value) <= MOST_CHARACTERS:
            what = f"has {len(value)} characters, at most {MOST_CHARACTERS} are kept" if value else "is empty"
            raise MemoryFault(f"{info.field_name} {what}", "nothing was kept; say it, in parts if it is long")
        return value

    @field_validator("valid_from", mode="after")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        """Times are compared; one without a zone is meant in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Fact(_Told):
    """Something of a subject that has one value at a time; a new value closes the old one.

    Attributes:
        valid_from: since when; by default since it is told.
    """

    subject: str
    relation: str
    value: str

    @property
    def key(self) -> str:
        return f"fact|{plain(self.subject)}|{plain(self.relation)}"

    @property
    def text(self) -> str:
        """As a line of a prompt."""
        return f"{self.subject}, {self.relation}: {self.value}"


class QA(_Told):
    """A question and its answer; a new answer closes the old one."""

    question: str
    answer: str

    @property
    def key(self) -> str:
        return f"qa|{plain(self.question).rstrip('?!. ')}"

    @property
    def text(self) -> str:
        return f"{self.question} {self.answer}"


class Note(_Told):
    """Free text that is no fact: found by what it is about, never closed by another."""

    note: str

    @property
    def key(self) -> str:
        return f"note|{plain(self.note)}"

    @property
    def text(self) -> str:
        return self.note


Told = Fact | QA | Note
KINDS: Mapping[str, type[Fact | QA | Note]] = {"fact": Fact, "qa": QA, "note": Note}


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose memory it is. An empty field means everybody's."""

    user: str = ""
    agent: str = ""
    thread: str = ""

    @property
    def narrow(self) -> int:
        """How many of its fields say whose."""
        return sum(map(bool, (self.user, self.agent, self.thread)))

    def sees(self, other: Scope) -> bool:
        """Whether what is kept in another scope may be said here."""
        pairs = ((self.user, other.user), (self.agent, other.agent), (self.thread, other.thread))
        return all(kept in ("", here) for here, kept in pairs)


EVERYBODY = Scope()


@dataclass(frozen=True, slots=True)
class Record:
    """What a memory knows of one thing that it was told.

    Attributes:
        id: never used again, whatever is forgotten.
        told: the fact, the question with its answer, or the note.
        source: who said so.
        valid_from, valid_to: when it held; ``valid_to`` is None as long as it does.
        episodes: of the log, where it was told.
        parents: ids of the records that it was derived from; it falls with them.
    """

    id: int
    told: Told
    scope: Scope
    source: str
    valid_from: datetime
    valid_to: datetime | None = None
    episodes: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()

    @property
    def live(self) -> bool:
        """Whether it holds now."""
        return self.valid_from <= datetime.now(UTC) and not self.over

    @property
    def over(self) -> bool:
        """Whether it holds no more; what is to hold later isn't over."""
        return self.valid_to is not None and self.valid_to <= datetime.now(UTC)

    @property
    def text(self) -> str:
        return self.told.text

    @property
    def kind(self) -> str:
        return next(name for name, kind in KINDS.items() if isinstance(self.told, kind))


def as_json(told: Told) -> str:
    """What is told as JSON, without what is not said."""
    return told.model_dump_json(exclude={"valid_from"})


def from_json(kind: str, text: str) -> Told:
    """What :func:`as_json` wrote."""
    return KINDS[kind].model_validate(json.loads(text))


def plain(text: str) -> str:
    """For comparing: one kind of letter, one kind of blank."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def says(text: str, phrase: str) -> bool:
    """Whether a phrase stands in a text as whole words, however it is written."""
    return f" {_bare(phrase)} " in f" {_bare(text)} "


def _bare(text: str) -> str:
    return " ".join("".join(letter if letter.isalnum() else " " for letter in plain(text)).split())
