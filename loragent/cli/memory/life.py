"""What is told of an invented world, session by session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from ...base import Base
from ...memory import Fact, Memory, Record
from .world import World, misses, questions

CHANGED = 3  # facts of earlier sessions that get another value in each later one


@dataclass
class Life:
    """What was told so far, so many facts a session."""

    base: Base
    memory: Memory
    world: World
    session: int = 25
    told: dict[str, Record] = field(default_factory=dict)  # by key, as it holds now
    first: list[Record] = field(default_factory=list)  # of the first session

    def __post_init__(self) -> None:
        self._facts: Iterator[Fact] = self.world.facts()
        self._sessions = 0

    @property
    def records(self) -> list[Record]:
        return list(self.told.values())

    @property
    def pairs(self) -> list[tuple[Record, str]]:
        return [(record, question) for record in self.records for question in asked(record)]

    def tell(self) -> list[tuple[Record, Record]]:
        """Tell a session's facts, and another value of some old ones; those as they were and as they are."""
        self._sessions += 1
        today = list(islice(self._facts, self.session))
        old = [record for record in self.records if record not in self.first][: CHANGED if self._sessions > 2 else 0]
        values = [self.world.another(record.told) for record in old if isinstance(record.told, Fact)]
        told = self.memory.remember([*today, *values])
        self.told.update({record.told.key: record for record in told})
        if self._sessions == 1:
            self.first = told
        return list(zip(old, told[len(today) :], strict=True))

    def strange(self, count: int) -> list[str]:
        """Questions that nothing told answers."""
        facts = [record.told for record in self.records if isinstance(record.told, Fact)]
        return misses(facts, self.world.strangers, count)


def asked(record: Record) -> list[str]:
    """Both ways in which the world asks for a record."""
    assert isinstance(record.told, Fact)
    return questions(record.told)
