"""Free text as facts: a plugin reads it under a grammar of the text's own words; what is unlikely is no fact."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..base import Base
from ..core import GenerationRequest, Generator, LoragentError, Reply, Use
from ..plugin import shipped
from .fact import FIRST_PERSON, SMALL, Fact, plain, says
from .passages import pieces, sentences

NAME = "memory-writer"
LONGEST = 400  # characters of a text that is read; what is longer stays a note
MOST = 4  # facts of one text
TOKENS = 200
LIKELY = 0.6  # probability of a fact's subject and value, from which it is kept
_NOBODY = frozenset(
    re.findall(
        r"\w+",
        "you me my we us our he him his she her it its they them their this that there who one someone somebody "
        "everyone everybody anyone anybody nobody",
    )
)
_LEFT = 1  # words that facts don't say, up to which nothing more is kept of a sentence
_STEM = 5  # letters by which words are the same: "allergic" says what "allergy" does
_STRING = r'"(?:[^"\\]|\\.)*"'
_FACT = re.compile(  # as it is written, and where it says how its relation is called
    rf'{{"subject": {_STRING}, "relation": (?P<relation>{_STRING}), "value": {_STRING}(?:, "since": {_STRING})?}}'
)
_WORD = re.compile(r"[^\W_]+")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FORMS = ("%d %B %Y", "%B %Y", "%d %b %Y", "%B %d %Y", "%Y-%m-%d", "%d.%m.%Y", "%Y")


class _Read(BaseModel):
    """A fact as the plugin writes it; the fields stand in this order."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(min_length=1, max_length=80)
    relation: str = Field(min_length=1, max_length=40)
    value: str = Field(min_length=1, max_length=120)
    since: str | None = Field(default=None, max_length=40)


class Reading(BaseModel):
    """What the plugin is trained to answer to a text."""

    model_config = ConfigDict(extra="forbid")

    facts: list[_Read] = Field(max_length=MOST)


def form_of(text: str) -> dict[str, Any]:
    """A :class:`Reading` of a text, as JSON Schema: whose subjects and values are copied from it."""
    schema = Reading.model_json_schema()
    fields, there = schema["$defs"][_Read.__name__]["properties"], pieces(text)
    fields["subject"] = {"enum": [FIRST_PERSON, *there]}
    fields["value"] = fields["since"] = {"enum": there}
    return schema


class Writer:
    """Reads facts out of texts.

    Args:
        plugin: a skill that was trained on texts with their facts (``roles/memory-writer``).
    """

    def __init__(self, model: Generator, plugin: str | Path | Use) -> None:
        self._model, self._stack = model, [plugin]
        self._base = model if isinstance(model, Base) else None  # another model doesn't say how likely its tokens are

    def read(self, texts: Sequence[str], speaker: str, now: datetime) -> list[list[Fact]]:
        """The facts of each text; none of one that is long, and none, with a warning, where reading fails.

        Args:
            speaker: who "I" is; without one, what somebody says of himself is nobody's.
        """
        short = [text for text in texts if len(text) <= LONGEST]
        found = dict(zip(short, self._readings(short), strict=True))
        return [facts_of(text, found.get(text), speaker, now) for text in texts]

    def _readings(self, texts: Sequence[str]) -> list[Reading | None]:
        settings = {"max_tokens": TOKENS, "logprobs": self._base is not None}
        requests = [GenerationRequest(text, self._stack, output=form_of(text), **settings) for text in texts]
        try:
            return [self._sure(reply) for reply in self._model.generate(requests)]
        except LoragentError as error:  # what is told is kept all the same, and one text doesn't spoil the others
            if len(texts) > 1:
                return [reading for text in texts for reading in self._readings([text])]
            warnings.warn(f"no facts were read out of {texts[0]!r}: {error}", stacklevel=5)
            return [None]

    def _sure(self, reply: Reply) -> Reading | None:
        reading = _read_of(reply.data)
        return likely(reading, reply, self._base.template.decode) if self._base and reading else reading


def _read_of(data: Any) -> Reading | None:
    """None of what is longer than what is kept."""
    try:
        return Reading.model_validate(data)
    except ValidationError:
        return None


def likely(reading: Reading, reply: Reply, decode: Callable[[Sequence[int]], str]) -> Reading:
    """The facts of a reading that the plugin was sure of while it wrote them: that there is one, whose it is, and
    what is so. How a relation is called is no matter of right and wrong: its words don't count.
    """
    ends = [len(decode(reply.token_ids[:n])) for n in range(len(reply.token_ids) + 1)]
    tokens = list(zip(pairwise(ends), reply.logprobs, strict=True))
    spans = [_counted(match) for match in _FACT.finditer(reply.raw)]
    chances = [math.exp(sum(p for at, p in tokens if any(_meet(at, span) for span in those))) for those in spans]
    return Reading(facts=[fact for fact, chance in zip(reading.facts, chances, strict=True) if chance >= LIKELY])


def _counted(fact: re.Match[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a fact's subject and its value stand in a reading, what leads to them included."""
    return (fact.start(), fact.start("relation")), (fact.end("relation"), fact.end())


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def writer_of(base: Base | Generator | None, plugin: str | Path | Use | None) -> Writer | None:
    """The writer that a memory is to have: "auto" is ``memory-writer`` of the base's library, else the shipped one."""
    if base is None or plugin is None:
        return None
    if plugin != "auto":
        return Writer(base, plugin)
    if not isinstance(base, Base):
        return None
    if base.library.shelf(NAME).exists():
        return Writer(base, NAME)
    own = shipped(NAME)
    return Writer(base, own.path) if own is not None and own.manifest.base == base.fingerprint else None


def rest(text: str, facts: Iterable[Fact]) -> str:
    """The sentences of a text that say more than some facts do."""
    spoken = " ".join(f"{fact.subject} {fact.relation} {fact.value}" for fact in facts)
    said = {word[:_STEM] for word in _WORD.findall(plain(spoken))}
    kept = [line for line in sentences(text) if _left_over(line, said) > _LEFT]
    return " ".join(kept)


def _left_over(line: str, said: set[str]) -> int:
    return sum(word[:_STEM] not in said and word not in SMALL for word in _WORD.findall(plain(line)))


def facts_of(text: str, reading: Reading | None, speaker: str, now: datetime) -> list[Fact]:
    """The facts of a reading that stand in its text; of two values for the same none, for a fact has one."""
    read = reading.facts if reading is not None else []
    found = dict.fromkeys(fact for item in read if (fact := _fact(text, item, speaker, now)) is not None)
    several = Counter((fact.key, fact.valid_from) for fact in found)
    return [fact for fact in found if several[fact.key, fact.valid_from] == 1]


def _fact(text: str, read: _Read, speaker: str, now: datetime) -> Fact | None:
    """What was read, if it stands in the text, is of somebody, and holds now or from a day on."""
    own = plain(read.subject) == plain(FIRST_PERSON)
    subject, relation, value = speaker if own else read.subject.strip(), read.relation.strip(), read.value.strip()
    if not (subject and relation and value) or plain(subject) in _NOBODY or plain(subject) == plain(value):
        return None
    stands = says(text, value) and (own or says(text, subject)) and (not read.since or says(text, read.since))
    if not stands:
        return None
    begins = _begins(text, read.since, now) if read.since else now
    if begins is None:
        return None
    later = begins if begins > now else None  # what has begun already is news all the same, and closes what was told
    return Fact(subject=subject, relation=relation, value=value, valid_from=later)


def _begins(text: str, words: str, now: datetime) -> datetime | None:
    """The day from which it holds, the next of that name or date; now behind "since"; None if nobody can say."""
    if re.search(rf"\bsince\s+(the\s+)?{re.escape(words)}", text, re.IGNORECASE):
        return now
    if words.lower() in _DAYS:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + timedelta((_DAYS.index(words.lower()) - now.weekday()) % len(_DAYS))
    bare = " ".join(re.sub(r"(?<=\d)(st|nd|rd|th)\b|,|\bof\b", "", words).split())
    for given in (bare, f"{bare} {now.year}", f"{bare} {now.year + 1}"):
        for form in _FORMS:
            try:
                day = datetime.strptime(given, form).replace(tzinfo=UTC)
            except ValueError:
                continue
            if given == bare or day.date() >= now.date():
                return day
    return None
