"""Which fact a question asks for: whose name is in it, and what else it says.

A sentence's vector is near to that of another with the same name in it, whatever is asked; so the name is taken out
first, and the rest held against the relations of that subject (docs/adr/0016), and against those that are told of
others: what comes nearer to one of them isn't known of this one (docs/adr/0025; ``loragent bench memory --only gate``
has the numbers).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core import Embedder
from .fact import FIRST_PERSON, SMALL, Fact, Record, Scope, plain
from .ledger import Ledger
from .meaning import ANYBODY, Meanings, Vector

LEAST = 0.42  # nearness (see meaning.py) of what is asked of somebody to a relation, from which it is that relation
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_OWN = re.compile(r"(?i)\b(?:(my|mine)|(am|was|do|did|have|had|will|shall|should) i)\b")
_GENITIVE = re.compile(r"['\u2019]s?$")


@dataclass(frozen=True, slots=True)
class Match:
    """The record that a question asks for, and how near it comes.

    Attributes:
        score: 0 where it comes nearer to what is told of others, and of whom it asks about isn't.
        question: with the name of whoever asks in place of "my" and "I".
    """

    record: Record
    score: float
    question: str

    @property
    def known(self) -> bool:
        """Whether it is near enough to be what is asked for."""
        return self.score >= LEAST


class Matcher:
    """The subjects and relations of a ledger, as of its last change."""

    def __init__(self, ledger: Ledger, embedder: Embedder) -> None:
        self._ledger, self._meanings = ledger, Meanings(embedder)
        self._lock = threading.Lock()
        self._change = -1
        self._of: Mapping[tuple[str, ...], tuple[Record, ...]] = {}
        self._told: Mapping[str, frozenset[Scope]] = {}  # relations, and where something of that kind is told

    def nearest(self, question: str, scope: Scope | None = None) -> Match | None:
        """What comes nearest to what is asked, of those whom it asks about; None if nobody known is.

        Args:
            scope: leaves out what is kept in a scope that this one doesn't see; None leaves out nothing. Its user is
                who asks.
        """
        who = scope.user if scope is not None and scope.user else FIRST_PERSON
        found = self._best(question, self._asked_of(question, scope), scope)
        if found is None or not found.known:
            own = named(question, who)
            asker = tuple(words(who))
            subjects = [asker] if own != question and self._visible(asker, scope) else []
            found = max(found, self._best(own, subjects, scope), key=lambda match: match.score if match else 0.0)
        return found

    def _best(self, question: str, subjects: Iterable[tuple[str, ...]], scope: Scope | None) -> Match | None:
        """Of what is as near, that which is kept for the fewest, then the newest."""
        asked = [(self._meanings.question(_without(question, s)), self._visible(s, scope)) for s in subjects]
        found = [pair for vector, records in asked for pair in self._scored(vector, records, scope)]
        matches = [Match(record, score, question) for record, score in found]
        return max(matches, key=lambda m: (m.score, m.record.scope.narrow, m.record.valid_from), default=None)

    def _scored(
        self, question: Vector, records: Sequence[Record], scope: Scope | None
    ) -> Iterator[tuple[Record, float]]:
        facts = [(record, record.told.relation) for record in records if isinstance(record.told, Fact)]
        own = {relation for _, relation in facts}
        others = self._relations(scope) - own
        self._meanings.read([*own, *others])
        for record, relation in facts:
            score = self._meanings.near(question, relation)
            if score >= LEAST and self._meanings.nearest(question, others, relation) > score:
                score = 0.0
            yield record, score

    def _visible(self, subject: tuple[str, ...], scope: Scope | None) -> list[Record]:
        """What holds now of a subject, as far as a scope sees it."""
        records = self._subjects().get(subject, ())
        return [record for record in records if record.live and (scope is None or scope.sees(record.scope))]

    def _asked_of(self, question: str, scope: Scope | None) -> list[tuple[str, ...]]:
        """Subjects whose whole name is in a question; else the only one that a part of a name in it can mean.

        Small words are no part of a name: "the" in a question means no "float in the till".
        """
        said = set(words(question)) - {plain(FIRST_PERSON)}
        partly = [subject for subject in self._subjects() if said & _telling(subject)]
        partly = [subject for subject in partly if self._visible(subject, scope)]
        whole = [subject for subject in partly if said >= _telling(subject)]
        if whole:
            return [s for s in whole if not any(_telling(s) < _telling(other) for other in whole)]
        if len(partly) != 1 or _names_another(question, partly[0]):
            return []
        return partly

    def _relations(self, scope: Scope | None) -> frozenset[str]:
        """Those of which something that a scope sees is told, of whomever."""
        self._subjects()
        return frozenset(r for r, places in self._told.items() if scope is None or any(map(scope.sees, places)))

    def _subjects(self) -> Mapping[tuple[str, ...], tuple[Record, ...]]:
        with self._lock:
            change = self._ledger.last_change()
            if change != self._change:
                facts = [record for record in self._ledger.find("kind = 'fact'") if not record.over]
                self._of, self._told = _by_subject(facts), _by_relation(facts)
                self._change = change
            return self._of


def words(text: str) -> list[str]:
    """The words of a text for comparing, without what marks a genitive."""
    return [_GENITIVE.sub("", word) for word in _WORD.findall(plain(text))]


def named(question: str, who: str) -> str:
    """A question with the name of whoever asks it in place of what he says of himself."""

    def name(found: re.Match[str]) -> str:
        return f"{who}'s" if found[1] else f"{found[2]} {who}"

    return _OWN.sub(name, question)


def _by_subject(records: Iterable[Record]) -> dict[tuple[str, ...], tuple[Record, ...]]:
    found: dict[tuple[str, ...], tuple[Record, ...]] = {}
    for record in records:
        assert isinstance(record.told, Fact)
        subject = tuple(words(record.told.subject)) or (plain(record.told.subject),)
        found[subject] = (*found.get(subject, ()), record)
    return found


def _by_relation(records: Iterable[Record]) -> dict[str, frozenset[Scope]]:
    found: dict[str, frozenset[Scope]] = {}
    for record in records:
        assert isinstance(record.told, Fact)
        found[record.told.relation] = found.get(record.told.relation, frozenset()) | {record.scope}
    return found


def _telling(subject: tuple[str, ...]) -> frozenset[str]:
    """The words of a name that say whose it is."""
    return frozenset(subject) - SMALL or frozenset(subject)


def _without(question: str, subject: tuple[str, ...]) -> str:
    """A question with somebody's name taken out."""
    rest = re.sub(r"(?i)\b" + r"\W+".join(map(re.escape, subject)) + r"\b", "\0", question)
    for part in _telling(subject):
        rest = re.sub(rf"(?i)\b{re.escape(part)}\b", "\0", rest)
    return re.sub("\0(?:[\\s-]*\0)*", ANYBODY, rest)


def _names_another(question: str, subject: tuple[str, ...]) -> bool:
    """Whether a name stands beside the part of the subject's that is in the question: then it is somebody else."""
    found = [(word, plain(_GENITIVE.sub("", word))) for word in _WORD.findall(question)]
    beside = [
        found[near]
        for at, (_, key) in enumerate(found)
        if key in subject
        for near in (at - 1, at + 1)
        if 0 <= near < len(found)
    ]
    first = found[0][0] if found else ""
    return any(word[:1].isupper() and word != first and key not in subject for word, key in beside)
