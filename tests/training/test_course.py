"""The batches of an epoch: all rows, but for most of those of what is known already."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from loragent.core import TrainingRow
from loragent.training import TrainSettings
from loragent.training.batches import length_grouped
from loragent.training.checkpoint import Progress
from loragent.training.course import REST, Course

SETTINGS = TrainSettings(batch_rows=4, known=0.1)
GROUPS = ["room", "tea", "", "dog", "room"]


def rows(count: int = 60) -> list[TrainingRow]:
    found = []
    for n in range(count):
        ids = tuple(range(5 + n % 7))
        found.append(TrainingRow(ids, tuple(at > 2 for at in ids), group=GROUPS[n % len(GROUPS)]))
    return found


def batches(course: Course, taught: list[TrainingRow], known: set[str]) -> list[list[int]]:
    """An epoch's, where the rows of some groups have next to no loss."""
    found = []
    for batch in course.batches(0):
        found.append(batch)
        course.note({i: 0.0 if taught[i].group in known else 9.0 for i in batch})
    return found


def course(taught: list[TrainingRow], settings: TrainSettings = SETTINGS, at: Progress | None = None) -> Course:
    return Course(taught, range(len(taught)), settings, at or Progress(""))


def test_as_long_as_nothing_is_known_every_row_comes_once() -> None:
    taught = rows()
    found = batches(course(taught), taught, set())
    assert sorted(i for batch in found for i in batch) == list(range(60))
    assert {len(batch) for batch in found} <= {3, 4, 5}


def test_where_nothing_is_to_be_passed_over_the_order_is_that_of_lengths() -> None:
    taught, settings = rows(), TrainSettings(batch_rows=4)
    assert batches(course(taught, settings), taught, {"room"}) == length_grouped(
        taught, range(60), 4, settings.seed * 1000
    )


def test_of_what_is_known_a_row_in_three_comes_and_of_the_rest_all() -> None:
    groups = [f"fact {n}" for n in range(30)]
    taught = [TrainingRow((1, 2, 3), (False, True, True), group=groups[n % 30]) for n in range(30 * 24)]
    found = [taught[i].group for batch in batches(course(taught), taught, set(groups[:15])) for i in batch]
    assert all(found.count(group) == 24 for group in groups[15:])
    each = [found.count(group) for group in groups[:15]]
    assert min(each) >= 24 / (REST + 1)
    assert sum(each) / len(each) < 24 / (REST + 1) + 3  # some come twice among those that are filled together


def test_rows_without_a_group_are_never_passed_over() -> None:
    taught = rows()
    found = [taught[i].group for batch in batches(course(taught), taught, {""}) for i in batch]
    assert found.count("") == 12


def test_what_is_forgotten_again_comes_in_full() -> None:
    taught = [TrainingRow((1, 2, 3), (False, True, True), group="room") for _ in range(40)]
    turn, seen = course(taught), 0
    for n, batch in enumerate(turn.batches(0)):
        seen += len(batch)
        turn.note(dict.fromkeys(batch, 0.0 if n == 3 else 9.0))  # the last of the first four that are filled together
    assert seen == 40 - REST


@pytest.mark.parametrize("after", [1, 3, 7])
def test_it_goes_on_where_a_killed_run_stood(after: int) -> None:
    taught, at = rows(), Progress("")
    whole = batches(course(taught), taught, {"room", "tea"})
    turn = course(taught, at=at)
    for _, batch in zip(range(after), turn.batches(0), strict=False):
        turn.note({i: 0.0 if taught[i].group in {"room", "tea"} else 9.0 for i in batch})
    saved = Progress(**json.loads(json.dumps(asdict(at))))
    assert batches(course(taught, at=saved), taught, {"room", "tea"}) == whole[after:]


def test_what_was_passed_over_counts_as_done() -> None:
    taught = rows()
    turn = course(taught)
    done = []
    for batch in turn.batches(0):
        turn.note(dict.fromkeys(batch, 0.0))
        done.append(turn.done)
    assert done == sorted(done)
    assert done[-1] == 15 > len(done)
