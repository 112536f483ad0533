"""Facts as questions, in several ways: those that are trained, and two that only check what was learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from .fact import FIRST_PERSON, QA, Fact, Told, plain
from .relations import asked_for

_OF_A_NOUN = (
    "What is {s}'s {r}?",
    "{s}'s {r}?",
    "Tell me the {r} of {s}.",
    "Do you know {s}'s {r}?",
    "What is the {r} of {s}?",
    "{r} of {s}",
)
_OF_A_NOUN_CHECK = ("Could you tell me what {s}'s {r} is?", "I need the {r} of {s}, please.")
_OF_A_VERB = (
    "What does {s} {v}?",
    "{s} {r} what?",
    "Tell me what {s} {r}.",
    "Do you know what {s} {r}?",
    "{s} {r}",
    "I forgot what {s} {r}.",
)
_OF_A_VERB_CHECK = ("Could you tell me what {s} {r}?", "I need to know what {s} {r}, please.")
_OF_A_QUESTION = (
    "{q}",
    "{q} Please tell me.",
    "Question: {q}",
    "Tell me: {q}",
    "{lower}",
    "I'd like to know: {q}",
)
_OF_A_QUESTION_CHECK = ("Can you answer this? {q}", "Hello, {lower}?")
CHECKS = 1  # which of the ways of ``relations.jsonl``: there the plainest one stands that no form is (docs/adr/0020)
_BACK = ("Whose {r} is {v}?",)
_VERBS = {
    "has": "have", "is": "be", "likes": "like", "loves": "love", "hates": "hate", "wants": "want", "needs": "need",
    "prefers": "prefer", "lives": "live", "works": "work", "speaks": "speak", "drives": "drive", "eats": "eat",
    "drinks": "drink", "owns": "own", "plays": "play", "comes": "come", "studies": "study", "stays": "stay",
    "travels": "travel", "arrives": "arrive", "leaves": "leave", "knows": "know", "teaches": "teach", "runs": "run",
    "plans": "plan", "reads": "read", "collects": "collect", "sells": "sell", "makes": "make", "calls": "call",
}  # fmt: skip


def trained(told: Told) -> list[str]:
    """Ways of asking for something that a plugin is trained on: as for anything, and as people ask for just this."""
    return _filled(told, _OF_A_NOUN, _OF_A_VERB, _OF_A_QUESTION) + _in_own_words(told)[0]


def checking(told: Told) -> list[str]:
    """Two ways of asking for it that are never trained on; one of them as people ask for this, where that is known."""
    ways = _filled(told, _OF_A_NOUN_CHECK, _OF_A_VERB_CHECK, _OF_A_QUESTION_CHECK)
    return (ways[:1] + _in_own_words(told)[1] + ways[1:])[:2]


def answer(told: Told) -> str:
    """What is answered: a sentence that names whose it is, for to say that first helps to find the value."""
    if isinstance(told, QA):
        return told.answer
    if isinstance(told, Fact):
        return _of_a_verb(told) if _is_verb(told.relation) else _of_a_noun(told)
    return told.note


def _of_a_verb(fact: Fact) -> str:
    who = f"You {_base_form(fact.relation)}" if fact.subject == FIRST_PERSON else f"{fact.subject} {fact.relation}"
    return f"{who} {fact.value}."


def _of_a_noun(fact: Fact) -> str:
    whose = "Your" if fact.subject == FIRST_PERSON else f"{fact.subject}'s"
    return f"{whose} {fact.relation} is {fact.value}."


def backwards(facts: Sequence[Fact], others: Sequence[Fact] = ()) -> list[tuple[str, str]]:
    """Questions for the subject of some facts, with it, where of these and others only one has the value."""
    owners = Counter(_value(fact) for fact in (*facts, *others))
    only = [fact for fact in facts if owners[_value(fact)] == 1 and not _is_verb(fact.relation)]
    return [(way.format(r=fact.relation, v=fact.value), fact.subject) for fact in only for way in _BACK]


def _value(fact: Fact) -> tuple[str, str]:
    return plain(fact.relation), plain(fact.value)


def unknown(facts: Sequence[Fact], known: Iterable[str]) -> list[str]:
    """Near misses: what is known of one asked of another of whom it isn't.

    Args:
        known: keys of all facts that hold.
    """
    relations = list({plain(fact.relation): fact.relation for fact in facts}.values())
    subjects = list({plain(fact.subject): fact.subject for fact in facts}.values())
    strangers = [*subjects, *_strangers(subjects)]
    taken = set(known)
    misses = [Fact(subject=s, relation=r, value="-") for s in strangers for r in relations]
    ways = [(trained(miss), n) for n, miss in enumerate(misses) if miss.key not in taken]
    return [way[n % len(way)] for way, n in ways]


def _strangers(subjects: Sequence[str]) -> list[str]:
    """Names that nobody bears, of the parts of those that are borne."""
    parts = [subject.split() for subject in subjects]
    borne = {plain(subject) for subject in subjects}
    others = parts[1:] + parts[:1]
    mixed = [" ".join((*one[:-1], other[-1])) for one, other in zip(parts, others, strict=True) if len(one) > 1]
    return [name for name in mixed if plain(name) not in borne]


def _in_own_words(told: Told) -> tuple[list[str], list[str]]:
    """As people ask for a relation: to be trained, and the one that checks."""
    ways = [way.format(s=told.subject) for way in asked_for(told.relation)] if isinstance(told, Fact) else []
    return ways[:CHECKS] + ways[CHECKS + 1 :], ways[CHECKS : CHECKS + 1]


def _filled(told: Told, noun: Sequence[str], verb: Sequence[str], question: Sequence[str]) -> list[str]:
    if isinstance(told, QA):
        bare = told.question.rstrip("?. ")
        slots: Mapping[str, str] = {"q": told.question, "lower": bare[:1].lower() + bare[1:]}
        return [way.format(**slots) for way in question]
    if isinstance(told, Fact):
        slots = {"s": told.subject, "r": told.relation, "v": _base_form(told.relation)}
        return [way.format(**slots) for way in (verb if _is_verb(told.relation) else noun)]
    return []


def _base_form(relation: str) -> str:
    first, _, rest = relation.partition(" ")
    return f"{_VERBS.get(first.lower(), first)} {rest}".strip()


def _is_verb(relation: str) -> bool:
    return relation.split(" ", 1)[0].lower() in _VERBS
