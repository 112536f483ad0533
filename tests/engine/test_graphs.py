"""Which steps are recorded, and when a recording is no longer good; that it gives the same is tested on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from loragent.engine.graphs import KEPT, OFTEN, Graphs
from loragent.engine.lora import ByRow, Plan

WIDTH = 256


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each step that is recorded; replaying computes anew."""
    found: list[int] = []

    def record(self: Graphs, ids: Tensor, positions: Tensor, step: Callable[..., Callable[[], Tensor]]) -> Any:
        found.append(len(ids))
        run, logits = step(ids, positions), torch.zeros(len(ids))
        graph = SimpleNamespace(replay=lambda: logits.copy_(run()))
        return SimpleNamespace(ids=ids, positions=positions, logits=logits, graph=graph)

    monkeypatch.setattr(Graphs, "_record", record)
    return found


def plan_of(rows: int) -> Plan:
    return {("q",): ByRow(torch.zeros(rows, 2, 4), ((slice(0, 2), torch.zeros(rows, 2, 4)),))}


def take(
    graphs: Graphs, token: int, rows: int = 2, width: int = WIDTH, plan: Plan | None = None, place: int = 0
) -> int:
    ids, positions = torch.full((rows, 1), token), torch.full((rows, 1), token)

    def step(ids: Tensor, positions: Tensor) -> Callable[[], Tensor]:
        def run() -> Tensor:
            return (ids + positions)[:, 0].float()

        return run

    return int(graphs.logits(ids, positions, width, plan or {}, place, step)[0])


def test_steps_alike_are_recorded_once_and_read_what_is_new(recorded: list[int]) -> None:
    graphs = Graphs()
    assert [take(graphs, token) for token in range(8)] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert recorded == [2]
    for other in ({"rows": 3}, {"width": 2 * WIDTH}, {"plan": plan_of(2)}):
        for token in range(OFTEN + 3):
            assert take(graphs, token, **other) == 2 * token  # type: ignore[arg-type]
    assert len(recorded) == 4


def test_matrices_that_are_written_over_keep_their_recording_and_others_do_not(recorded: list[int]) -> None:
    graphs, plan = Graphs(), plan_of(2)
    for token in range(6):
        (update,) = plan.values()
        again = {("q",): ByRow(update.a, update.parts)}  # type: ignore[attr-defined]
        take(graphs, token, plan=again)
    assert len(recorded) == 1
    kept = [plan_of(2) for _ in range(6)]  # alive together, so at six addresses
    for other in kept:
        take(graphs, 1, plan=other)
    assert len(recorded) == 1  # each was seen but once


def test_what_was_recorded_is_forgotten_when_keys_and_values_move_or_there_is_too_much(recorded: list[int]) -> None:
    graphs = Graphs()
    for place in (0, 1):
        for token in range(OFTEN + 1):
            take(graphs, token, place=place)
    assert len(recorded) == 2
    for rows in range(1, KEPT + 10):
        for token in range(OFTEN + 1):
            take(graphs, token, rows=rows, place=1)
    assert len(graphs._kept) == KEPT
