"""Each form of the maths gives what the plugins' own matrices give, whatever the batches before it were."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from loragent.engine.lora import Mount, Plan, Resident, Stack, arrange
from loragent.engine.planner import Planner
from loragent.engine.slabs import ColumnSlabs, RowSlabs
from loragent.plugin import LoraPair, LoraWeights

SHAPES = {"q": (6, 5), "v": (3, 5), "o": (5, 6)}
FANS = [("q", "v"), ("o",)]
CPU = torch.device("cpu")


def plugin(seed: int) -> tuple[LoraWeights, Resident]:
    """Random weights of some rank on some layers, as on disk and as resident."""
    random_ = torch.Generator().manual_seed(seed)
    layers = [name for n, name in enumerate(SHAPES) if seed % 7 != n] or ["q"]
    rank = 1 + seed % 3
    pairs = {
        name: LoraPair(
            torch.randn(rank, SHAPES[name][1], generator=random_),
            torch.randn(SHAPES[name][0], rank, generator=random_),
            0.5,
        )
        for name in layers
    }
    weights = LoraWeights(pairs)
    return weights, arrange(weights, FANS, lambda name: 0, CPU, torch.float32)


PLUGINS = [plugin(seed) for seed in range(9)]


def wanted(stacks: list[Stack], fan: tuple[str, ...], x: Tensor) -> list[Tensor]:
    """x: [rows, tokens, in] -> what is added to each layer, [rows, tokens, out]."""
    outputs = [torch.zeros(*x.shape[:2], SHAPES[name][0]) for name in fan]
    for row, stack in enumerate(stacks):
        for mount in stack:
            pairs = PLUGINS[int(mount.key)][0].pairs
            for y, name in zip(outputs, fan, strict=True):
                if name in pairs:
                    pair = pairs[name]
                    y[row] += mount.scale * pair.scaling * (x[row] @ pair.a.T @ pair.b.T)
    return outputs


def check(plan: Plan, stacks: list[Stack], tokens: int) -> None:
    for fan in FANS:
        x = torch.randn(len(stacks), tokens, SHAPES[fan[0]][1])
        found = [torch.zeros(len(stacks) * tokens, SHAPES[name][0]) for name in fan]
        if fan in plan:
            plan[fan].add_to(found, x.view(-1, x.shape[-1]))
        for y, right in zip(found, wanted(stacks, fan, x), strict=True):
            torch.testing.assert_close(y.view(right.shape), right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["rows", "columns", "reading", "decoding"])
def test_batches_that_change(form: str) -> None:
    rng = random.Random(form)
    plan = {
        "rows": RowSlabs(SHAPES, CPU, torch.float32).plan,
        "columns": ColumnSlabs(SHAPES, CPU, torch.float32).plan,
        "reading": Planner(FANS, SHAPES, CPU, torch.float32).reading,
        "decoding": Planner(FANS, SHAPES, CPU, torch.float32).decoding,
    }[form]
    stacks: list[Stack] = []
    for _ in range(120):
        if len(stacks) > rng.randint(0, 9):  # the last row takes the place of one that ends
            stacks[rng.randrange(len(stacks))] = stacks[-1]
            stacks.pop()
        else:
            chosen = [rng.randrange(9) for _ in range(rng.choice([0, 1, 1, 1, 3]))]
            stacks.append(tuple(Mount(str(n), PLUGINS[n][1], rng.choice([1.0, 0.5, -2.0])) for n in chosen))
        if any(stacks):
            check(plan(stacks), stacks, tokens=1 if form != "reading" else 3)


def test_a_row_that_joins_copies_its_own_plugins_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    slabs = RowSlabs(SHAPES, CPU, torch.float32)
    real = slabs._write
    monkeypatch.setattr(slabs, "_write", lambda row, stack: (written.append(row), real(row, stack)))
    stacks: list[Stack] = [(Mount(str(n), PLUGINS[n][1], 1.0),) for n in (1, 4, 7)]
    slabs.plan(stacks)
    written.clear()
    slabs.plan([*stacks, (Mount("4", PLUGINS[4][1], 0.5),)])
    assert written == [3]
