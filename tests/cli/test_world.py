"""The invented world of the benchmark: the same for a seed, and asked in words that no curriculum knows."""

from __future__ import annotations

from itertools import islice

from loragent.cli.memory.documents import accepted
from loragent.cli.memory.score import auroc
from loragent.cli.memory.world import World, misses, questions
from loragent.memory.phrases import checking, trained


def test_a_world_is_the_same_for_a_seed() -> None:
    one, same, other = (list(islice(World(seed).facts(), 60)) for seed in (1, 1, 2))
    assert one == same != other
    assert len({fact.key for fact in one}) == 60


def test_the_world_asks_in_words_of_its_own() -> None:
    for fact in islice(World(1).facts(), 100):
        ways = {*trained(fact), *checking(fact)}
        assert len(questions(fact)) == 2
        assert not ways & set(questions(fact))
        assert not any(fact.value in question for question in questions(fact))


def test_near_misses_have_no_answer() -> None:
    world = World(1)
    facts = list(islice(world.facts(), 100))
    asked = {question for fact in facts for question in questions(fact)}
    found = misses(facts, world.strangers, 80)
    assert len(found) == 80
    assert not asked & set(found)


def test_auroc_counts_pairs() -> None:
    assert auroc([3, 2], [1, 0]) == 1
    assert auroc([1, 1], [1, 1]) == 0.5
    assert auroc([0], [1]) == 0


def test_a_changed_fact_has_another_value() -> None:
    world = World(1)
    for fact in islice(world.facts(), 30):
        other = world.another(fact)
        assert (other.key, other.value != fact.value) == (fact.key, True)


def test_an_accepted_answer_stands_as_whole_words() -> None:
    assert accepted("It costs $39, I think.", ["39", "thirty nine"])
    assert accepted("A steam-wand.", ["steamwand"])
    assert not accepted("It costs 390.", ["39"])
