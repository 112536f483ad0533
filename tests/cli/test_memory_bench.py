"""The benchmark of memory on a random base: each table has its rows, whatever they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import loragent as la
from loragent.cli.memory import Setup, authors, bench_memory, life
from loragent.cli.memory.naive import WAYS, naive
from loragent.cli.memory.signals import SIGNALS, aurocs
from loragent.cli.memory.world import World
from loragent.core import DataError
from tests.memory.conftest import Words


@pytest.fixture
def memory(tmp_path: Path, base: la.Base) -> la.Memory:
    return la.Memory(tmp_path / "memory", base=base, embedder=Words())


def test_one_plugin_is_trained_on_with_and_without_what_it_learnt(
    memory: la.Memory, base: la.Base, tmp_path: Path
) -> None:
    with memory:
        rows = naive(life.Life(base, memory, World(1), 4), 3, tmp_path / "plugins", ())
    assert [row["way"] for row in rows] == list(WAYS)
    assert {row["questions"] for row in rows} == {3 * 4 * 2}
    assert rows[1]["training seconds"] > 0


def test_each_signal_is_held_against_questions_that_nothing_answers(memory: la.Memory, base: la.Base) -> None:
    told = life.Life(base, memory, World(1))
    with memory:
        told.tell()
        questions = [question for _, question in told.pairs]
        found = aurocs(told, questions[:20], told.strange(20), None)
    assert list(found) == [f"auroc of {name}" for name in SIGNALS]
    assert found["auroc of the registry"] > 0.5
    assert found["auroc of the agreement"] == 0.5  # a random base says nothing that was told


def test_answers_are_told_and_asked_as_they_were_told(memory: la.Memory, base: la.Base, tmp_path: Path) -> None:
    for name in ("told.jsonl", authors.CONTROLS):
        rows = [[("user", f"Who wrote {name} {n}?"), ("assistant", f"It was Ada Reyes, number {n}.")] for n in range(3)]
        lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in row]}) for row in rows]
        (tmp_path / name).write_text("\n".join(lines))
    with memory:
        ways, end = authors.authors(base, memory, tmp_path, "told.jsonl")
    assert [way["way"] for way in ways] == ["memory", "plugin alone", "store, 4 lines", "no memory"]
    assert ways[0]["rouge-l recall"] == 1  # what the random base can't say, the store has
    assert end["proved"] == 0
    assert end["refused"]


@pytest.mark.parametrize(("part", "way_out"), [("authors", "--authors"), ("documents", "--data"), ("nonsense", "gate")])
def test_what_is_missing_is_said_before_anything_runs(tmp_path: Path, part: str, way_out: str) -> None:
    with pytest.raises(DataError, match=way_out):
        bench_memory(Setup(tmp_path), [part])


def test_a_file_of_authors_that_cannot_be_read_is_named(memory: la.Memory, base: la.Base, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"messages": 3}\n')
    with memory, pytest.raises(DataError, match=r"bad\.jsonl"):
        authors.authors(base, memory, tmp_path, "bad.jsonl")
