"""The manner in which somebody wants to be answered: what facts say of it, answers in it, and whether one keeps to it.

A habit is a fact of a user about himself whose relation is one of these (or one of its other names):

    form of address     any name or title: "Captain"
    sign-off            any words: "Fair winds"
    units               metric or imperial
    answer language     English, French, German, Italian or Spanish
    answer length       short (one sentence) or long
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from ..fact import FIRST_PERSON, Fact, Record, Scope, plain, says
from .everyday import Everyday
from .language import ENGLISH, NAMES, language_of
from .units import IMPERIAL, METRIC, measured, systems

SHORT, LONG = "short", "long"
LONGEST = 60  # characters of a form of address or a sign-off
_RELATIONS: Mapping[str, tuple[str, ...]] = {
    "address": ("form of address", "preferred form of address", "way of addressing", "salutation"),
    "sign_off": ("sign-off", "sign off", "closing line of answers", "closing words of answers"),
    "units": ("units", "preferred units", "units of measurement", "measurement units", "measurement system"),
    "language": ("answer language", "preferred answer language", "language of answers", "reply language"),
    "length": ("answer length", "preferred answer length", "length of answers", "reply length"),
}
_PART = {name: part for part, names in _RELATIONS.items() for name in names}
_MEANT: Mapping[str, Mapping[str, tuple[str, ...]]] = {  # what words of a value mean; a name may be anything
    "units": {
        METRIC: ("metric", "kilometres", "kilometers", "metres", "meters", "celsius", "kilos", "litres", "liters"),
        IMPERIAL: ("imperial", "us", "miles", "feet", "fahrenheit", "pounds", "inches", "ounces"),
    },
    "language": NAMES,
    "length": {
        SHORT: ("short", "brief", "briefly", "concise", "sentence", "terse"),
        LONG: ("long", "detailed", "detail", "full", "thorough"),
    },
}
_NEGATIONS = frozenset(("no", "not", "never", "don", "dont", "without"))
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^a-zà-ÿ])")
_NO_END = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|Sr|Sra|Mme)\.$|(?:^|\s)[A-Z]\.$")  # of a sentence
_NO_END_BEFORE_NUMBERS = re.compile(r"\b(?:No|Nr)\.$")
_STOPS = ".!? "


@dataclass(frozen=True, slots=True)
class Manner:
    """How somebody wants to be answered; what he said nothing of is empty.

    Attributes:
        address: how he is to be called, in the first sentence.
        sign_off: what stands at the end.
        units: "metric" or "imperial".
        language: of the answer, as its two letters.
        length: "short" for one sentence, or "long".
    """

    address: str = ""
    sign_off: str = ""
    units: str = ""
    language: str = ""
    length: str = ""

    @property
    def parts(self) -> list[str]:
        """The names of those that something was said of."""
        return [part.name for part in fields(self) if getattr(self, part.name)]

    def answer(self, line: Everyday) -> str:
        """What is answered to an everyday question in this manner."""
        language = self.language or ENGLISH
        return self.restyled(measured(line.answers[language], self.units, language))

    def restyled(self, text: str) -> str:
        """An answer with form of address and sign-off, and no longer than it is wanted; nothing stays nothing."""
        if not text.strip(_STOPS):
            return text
        first, *others = _sentences(text)
        if self.address:
            first = f"{first.rstrip(_STOPS)}, {self.address}{first[-1] if first[-1] in _STOPS else '.'}"
        ending = self.sign_off if self.sign_off[-1:] in tuple("!?.") else f"{self.sign_off}."
        return " ".join((first, *(others if self.length != SHORT else ()), *([ending] if self.sign_off else ())))

    def shown_by(self, measured: bool) -> tuple[str, ...]:
        """The parts that an answer can show which names a measure, or none."""
        return tuple(part for part in self.parts if part != "units" or measured)

    @property
    def shown(self) -> tuple[str, ...]:
        """The parts that any answer can show, and that :meth:`restyled` gives to it."""
        shortened = ("length",) if self.length == SHORT else ()
        return tuple(part for part in self.parts if part in ("address", "sign_off", *shortened))

    def keeps(self, part: str, text: str) -> bool:
        """Whether an answer keeps to a part of it."""
        kept: Mapping[str, bool] = {
            "address": says(text, self.address),
            "sign_off": self._signed(text),
            "units": systems(text) == [self.units],
            "language": language_of(self._bare(text)) == self.language,
            "length": (len(_sentences(self._bare(text))) == 1) == (self.length == SHORT),
        }
        return bool(text) and kept[part]

    def _signed(self, text: str) -> bool:
        return bool(self.sign_off) and plain(text).rstrip(_STOPS).endswith(plain(self.sign_off).rstrip(_STOPS))

    def _bare(self, text: str) -> str:
        """Without form of address and sign-off."""
        text = text.rstrip(_STOPS)[: -len(self.sign_off.rstrip(_STOPS))] if self._signed(text) else text
        return text.replace(self.address, "") if self.address else text


def habit(fact: Fact) -> tuple[str, str] | None:
    """The part of a manner that a fact speaks of, and what it shall be; None if of none, or it can't be kept."""
    part = _PART.get(plain(fact.relation))
    if part is None:
        return None
    words = re.findall(r"[^\W_]+", plain(fact.value))
    if part not in _MEANT:
        fits = words and len(fact.value) <= LONGEST and "\n" not in fact.value
        return (part, fact.value) if fits else None
    found = {meaning for meaning, names in _MEANT[part].items() if any(word in names for word in words)}
    return (part, found.pop()) if len(found) == 1 and not _NEGATIONS.intersection(words) else None


def habit_keys(user: str) -> list[str]:
    """The keys of all facts that may be a habit of a user."""
    return [Fact(subject=who, relation=name, value="-").key for who in (user, FIRST_PERSON) for name in _PART]


def habits_of(records: Iterable[Record], user: str) -> dict[str, Record]:
    """The habits of a user among some records, oldest first, by the part of his manner; the newest of a part holds."""
    found: dict[str, Record] = {}
    for record in records:
        told = record.told
        if not isinstance(told, Fact) or record.scope != Scope(user) or not user:
            continue
        if plain(told.subject) in (plain(user), plain(FIRST_PERSON)) and (meant := habit(told)) is not None:
            found[meant[0]] = record
    return found


def habits_by_user(records: Iterable[Record]) -> dict[str, dict[str, Record]]:
    """The habits of all users who have some among some records, oldest first."""
    owned: dict[str, list[Record]] = {}
    for record in records:
        owned.setdefault(record.scope.user, []).append(record)
    return {user: habits for user in sorted(owned) if (habits := habits_of(owned[user], user))}


def manner_of(habits: Iterable[Record]) -> Manner:
    """The manner that habits make up."""
    return Manner(**dict(meant for r in habits if isinstance(r.told, Fact) and (meant := habit(r.told)) is not None))


def _sentences(text: str) -> list[str]:
    found: list[str] = []
    for part in _SENTENCE_END.split(text.strip()):
        last = found[-1] if found else ""
        if _NO_END.search(last) or (part[:1].isdigit() and _NO_END_BEFORE_NUMBERS.search(last)):
            found[-1] += f" {part}"
        elif part:
            found.append(part)
    return found
