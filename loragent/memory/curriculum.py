"""A lesson on records: what is asked of a memory, what it doesn't know, and what it must leave alone; and what of it a
plugin has learnt.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from types import MappingProxyType

from ..base import Base
from ..core import Message, RowScore, TrainingRow, Use
from ..learning import digest_of, row_of
from .evidence import known_by, least_sure
from .fact import Fact, Record, Told
from .general import alone, as_it_says, general
from .phrases import answer, backwards, trained, unknown
from .recall import UNKNOWN

SEED = 13
TAUGHT = 24  # rows of each new fact: each way of asking for it as often as the others
TAUGHT_ANSWER = 16  # of an answer that was told, which has more words to learn by; with 8 a fifth of them were known
REPLAY = 0.5  # rows of what is known already, as a share of those of what is new; and at least
LEAST_REPLAYED = 2  # of each record. With 25 rows beside 600 a fifth was left of what was known
STRANGE = 40  # questions on what isn't known that are kept apart, at most
MISSES = 0.08  # questions on what isn't known, as a share of those on what is

Asked = tuple[str, str, str]  # a question, its answer, and which rows teach the same


class MemoryCurriculum:
    """The rows of one night.

    Args:
        new: records that the plugin doesn't hold yet: all ways of asking for them are trained.
        old: those that it holds: some ways of each, so that none is lost.
        known: keys of all that holds, in this slot or another; what is asked as unknown is none of them.

    Attributes:
        new, old: the records.
        judged: general rows that are never trained on, to tell by what a plugin does to the base.
        strange: questions on what isn't known that are not trained, to judge by.
    """

    beneath: Sequence[Use] = ()  # facts are asked of it alone
    asked = True
    settings: Mapping[str, float] = MappingProxyType({})  # none but a night's

    def __init__(self, base: Base, new: Sequence[Record], old: Sequence[Record], known: frozenset[str]) -> None:
        self._base, self.new, self.old, self._known = base, new, old, known
        self.cut: list[int] = []
        _, self.judged = general(base.template)
        self._asked, self.strange = self._questions()

    @property
    def data_sha256(self) -> str:
        """Digest of the questions and answers."""
        return digest_of(self._dialogues(), "")

    def rows(self) -> list[TrainingRow]:
        """Questions with a loss on the answer, and general ones held to what the base says (a KL term)."""
        return self.taught() + as_it_says(self._base)

    def taught(self) -> list[TrainingRow]:
        """The questions alone."""
        rows = [row_of(self._base.template, dialogue) for dialogue in self._dialogues()]
        return [replace(row, group=group) for row, (*_, group) in zip(rows, self._asked, strict=True)]

    def alone(self) -> list[RowScore]:
        """What is scored on the rows to judge by without a plugin."""
        return alone(self._base)

    def known(self, plugin: Use) -> frozenset[int]:
        """Ids of the records that a plugin knows, asked in ways that are never trained."""
        return known_by(self._base, plugin, [*self.new, *self.old])

    def sure(self, plugin: Use, known: frozenset[int]) -> float:
        """The probability from which its answers are to be believed."""
        return least_sure(self._base, plugin, [r for r in (*self.new, *self.old) if r.id in known], self.strange)

    def _dialogues(self) -> list[tuple[Message, Message]]:
        return [
            (Message(role="user", content=way), Message(role="assistant", content=said)) for way, said, _ in self._asked
        ]

    def _questions(self) -> tuple[list[Asked], list[str]]:
        """Those that are trained, and those that are kept apart."""
        draw = random.Random(SEED)
        asked: list[Asked] = []
        if self.old:
            rows = REPLAY * sum(_rows(record.told) for record in self.new)
            replayed = max(LEAST_REPLAYED, math.ceil(rows / len(self.old)))
            # Without a group: what is known is kept by being asked for. Passed over, a sixth of it was lost.
            asked += [(way, said, "") for record in self.old for way, said in _drawn(record, replayed, draw)]
        asked += [(way, subject, "") for way, subject in backwards(_facts(self.new), _facts(self.old))]
        asked += [(*pair, str(r.id)) for r in self.new for pair in _drawn(r, _rows(r.told), draw)]
        facts = _facts([*self.new, *self.old])
        misses = unknown(facts, self._known)
        draw.shuffle(misses)
        apart = min(STRANGE, len(misses) // 3)
        declined = islice(cycle(misses[apart:]), int(MISSES * len(asked)))
        return asked + [(way, UNKNOWN, "") for way in declined], misses[:apart]


def _rows(told: Told) -> int:
    return TAUGHT if isinstance(told, Fact) else TAUGHT_ANSWER


def _drawn(record: Record, count: int, draw: random.Random) -> list[tuple[str, str]]:
    """So many rows of a record, in all ways in turn."""
    ways = trained(record.told)
    return [(way, answer(record.told)) for way in islice(cycle(draw.sample(ways, len(ways))), count)]


def _facts(records: Sequence[Record]) -> list[Fact]:
    return [record.told for record in records if isinstance(record.told, Fact)]
