"""Invented people and what there is to know of them; values are drawn, so nothing can be guessed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from ...memory import Fact


def _words(text: str) -> list[str]:
    return text.split()


_FIRST = _words(
    "Mira Jon Ana Tomas Leila Pavel Ingrid Kofi Sana Bruno Yuki Olga Dario Nadia Emil Rosa Hugo Vera "
    "Idris Marta Felix Amina Oskar Greta Luis Petra Samir Helga Ravi Dunja"
)
_LAST = _words(
    "Osei Varga Lindqvist Moreau Petrov Adeyemi Kowalski Hansen Ferrari Nakamura Costa Weber Novak Dubois "
    "Singh Rossi Keller Brandt Silva Haddad"
)
_WORDS: Mapping[str, list[str]] = {
    "month": _words("January March April June August October November"),
    "onset": _words("Vel Kes Ard Lor Tess Mur Grey Ost Hal Bryn"),
    "ending": _words("mora trin vale wick port den sund by holt mere"),
    "colour": _words("teal ochre crimson ivory indigo maroon olive amber coral slate"),
    "dog": _words("Biscuit Pepper Waffle Comet Juno Tango Bramble Misty Rocco Sable"),
    "trade": _words("cartographer glassblower beekeeper luthier surveyor florist cooper falconer tailor"),
    "food": _words("walnuts shellfish pollen latex peanuts sesame feathers celery"),
}
# What may be known of somebody, the form of its value, and two ways of asking for it that no curriculum knows.
_RELATIONS: Mapping[str, tuple[str, str, str]] = {
    "room": ("100-999", "Where in the house does {s} sleep?", "Which room did we give {s}?"),
    "favourite colour": ("colour", "Which colour does {s} like best?", "What colour is {s} fond of?"),
    "birthday": ("1-28 month", "When was {s} born?", "On which day do we wish {s} a happy birthday?"),
    "home town": ("onset+ending", "Which town does {s} come from?", "Where is {s} at home?"),
    "dog's name": ("dog", "What is the dog of {s} called?", "How does {s} call the dog?"),
    "profession": ("trade", "Which profession did {s} learn?", "What does {s} do for a living?"),
    "phone number": ("0100-0999 1000-9999", "Under which phone number do I reach {s}?", "How can I phone {s}?"),
    "shoe size": ("35-47", "Which size are {s}'s shoes?", "What size of shoe fits {s}?"),
    "allergy": ("food", "What is {s} allergic to?", "Which allergy do we have to mind with {s}?"),
    "departure": ("1-28 month", "On which day does {s} depart?", "When is the departure of {s}?"),
}
KNOWN_OF_ONE = 5  # facts of a person; what else there is to ask of them is not known


class World:
    """People, and facts of them in the order in which they are told."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        names = [f"{first} {last}" for first in _FIRST for last in _LAST]
        draw.shuffle(names)
        self._draw, self._names = draw, iter(names)
        self.strangers = names[-len(names) // 4 :]  # never told of; their first and last names are

    def facts(self) -> Iterator[Fact]:
        """Facts without an end, five of each person."""
        for name in self._names:
            for relation in self._draw.sample(list(_RELATIONS), KNOWN_OF_ONE):
                yield Fact(subject=name, relation=relation, value=_drawn(_RELATIONS[relation][0], self._draw))

    def another(self, fact: Fact) -> Fact:
        """The same of the same, with another value."""
        form, value = _RELATIONS[fact.relation][0], fact.value
        while value == fact.value:
            value = _drawn(form, self._draw)
        return Fact(subject=fact.subject, relation=fact.relation, value=value)


def questions(fact: Fact) -> list[str]:
    """Both ways of asking for a fact."""
    return [way.format(s=fact.subject) for way in _RELATIONS[fact.relation][1:]]


def misses(facts: list[Fact], strangers: list[str], count: int) -> list[str]:
    """Questions that nothing told answers: half on strangers, half on what is not known of people that are."""
    draw = random.Random(7)
    told = {(fact.subject, fact.relation) for fact in facts}
    people = sorted({fact.subject for fact in facts})
    half = [(s, r) for s in people for r in _RELATIONS if (s, r) not in told]
    others = [(draw.choice(strangers), r) for r in _RELATIONS for _ in range(count // 20 + 1)]
    chosen = draw.sample(half, min(len(half), count // 2)) + draw.sample(others, count - count // 2)
    return [draw.choice(_RELATIONS[relation][1:]).format(s=subject) for subject, relation in chosen]


def _drawn(form: str, draw: random.Random) -> str:
    """A value of a form: blanks and ``+`` part what stands side by side, ``a-b`` is a number of as many digits."""
    if " " in form or "+" in form:
        parts = form.replace("+", " ").split()
        return (" " if " " in form else "").join(_drawn(part, draw) for part in parts)
    if form in _WORDS:
        return draw.choice(_WORDS[form])
    low, _, high = form.partition("-")
    return str(draw.randint(int(low), int(high))).zfill(len(low))
