"""What a question asks of somebody: how near it comes to a relation, and to any other."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..core import Embedder
from .fact import plain
from .relations import asked_for, common_name

ANYBODY = "someone"
ALIKE = 0.7  # cosine of two relations' names, from which they may well mean the same

Vector = NDArray[np.float32]


class Meanings:
    """Relations as vectors: of their names, and of the ways in which people ask for those that are common."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, Vector] = {}  # [1 + ways, d], by relation

    def question(self, text: str) -> Vector:
        """[d], of a question with :data:`ANYBODY` in place of whom it asks about."""
        (vector,) = self._embedder.embed([text])
        return vector  # type: ignore[no-any-return]

    def near(self, question: Vector, relation: str) -> float:
        """The mean of two cosines, with the relation's name and with the nearest of the ways to ask for it; the first
        alone of what isn't common (docs/adr/0025).
        """
        name, *ways = self._of(relation) @ question
        return float((name + max(ways)) / 2 if ways else name)

    def nearest(self, question: Vector, relations: Iterable[str], relation: str) -> float:
        """How near the nearest of some relations comes, those left out that mean the same as one; -1 without any."""
        return max((self.near(question, other) for other in relations if not self._same(other, relation)), default=-1.0)

    def read(self, relations: Iterable[str]) -> None:
        """Read the vectors of relations at once, as far as they are new."""
        new = {plain(relation): relation for relation in relations if plain(relation) not in self._vectors}
        if not new:
            return
        texts = [[f"{ANYBODY}'s {name}", *(way.format(s=ANYBODY) for way in asked_for(name))] for name in new.values()]
        vectors = self._embedder.embed([text for each in texts for text in each])
        ends = np.cumsum([len(each) for each in texts])[:-1]
        self._vectors |= dict(zip(new, np.split(vectors, ends), strict=True))

    def _same(self, one: str, other: str) -> bool:
        common = common_name(one)
        if plain(one) == plain(other) or (common and common == common_name(other)):
            return True
        return float(self._of(one)[0] @ self._of(other)[0]) >= ALIKE

    def _of(self, relation: str) -> Vector:
        self.read([relation])
        return self._vectors[plain(relation)]
