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

from .everyday import Everyday
from .fact import FIRST_PERSON, Fact, Record, plain, says
from .language import ENGLISH, NAMES, language_of
from .units import IMPERIAL, METRIC, measured, systems

SHORT, LONG = "short", "long"
LONGEST = 60  # characters of a form of address or a sign-off
_RELATIONS: Mapping[str, tuple[str, ...]] = {
    "address": ("form of address", "preferred form of address", "title", "salutation", "honorific"),
    "sign_off": ("sign-off", "sign off", "closing", "closing line", "closing words", "farewell"),
    "units": ("units", "preferred units", "units of measurement", "measurement units", "measurement system"),
    "language": ("answer language", "preferred language", "language of answers", "reply language", "language"),
    "length": ("answer length", "preferred answer length", "length of answers", "reply length", "brevity"),
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
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
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
        """An answer with form of address and sign-off, and no longer than it is wanted."""
        first, *others = _sentences(text)
        if self.address:
            first = f"{first.rstrip(_STOPS)}, {self.address}{first[-1] if first[-1] in _STOPS else '.'}"
        ending = self.sign_off if self.sign_off[-1:] in tuple("!?.") else f"{self.sign_off}."
        return " ".join((first, *(others if self.length != SHORT else ()), *([ending] if self.sign_off else ())))

    def shown_by(self, line: Everyday) -> tuple[str, ...]:
        """The parts that an answer to an everyday question can show."""
        return tuple(part for part in self.parts if part != "units" or line.measured)

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
    if part not in _MEANT:
        return (part, fact.value) if len(fact.value) <= LONGEST and "\n" not in fact.value else None
    words = re.findall(r"\w+", plain(fact.value))
    found = {meaning for meaning, names in _MEANT[part].items() if any(word in names for word in words)}
    return (part, found.pop()) if len(found) == 1 else None


def habits_of(records: Iterable[Record], user: str) -> dict[str, Record]:
    """The habits of a user among some records, oldest first, by the part of his manner; the newest of a part holds."""
    found: dict[str, Record] = {}
    for record in records:
        told, scope = record.told, record.scope
        if not (isinstance(told, Fact) and user and scope.user == user) or scope.agent or scope.thread:
            continue
        if plain(told.subject) in (plain(user), plain(FIRST_PERSON)) and (meant := habit(told)) is not None:
            found[meant[0]] = record
    return found


def manner_of(habits: Iterable[Record]) -> Manner:
    """The manner that habits make up."""
    return Manner(**dict(meant for r in habits if isinstance(r.told, Fact) and (meant := habit(r.told)) is not None))


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence]
