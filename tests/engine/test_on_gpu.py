"""On a CUDA device: recorded steps give what steps give that are computed as they come, and what a CPU gives."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import loragent as la
from loragent.core import TrainingRow
from loragent.engine import graphs
from loragent.training import TrainSettings
from tests.conftest import dialogues, save_tiny
from tests.engine.test_against_peft import TEXTS, peft_greedy

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=[32, 64])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of 8 features, which the fused attention does not take, and of 16."""
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny", hidden=request.param)


@pytest.fixture
def gpu(tiny: Path, tmp_path: Path) -> Iterator[la.Base]:
    """The tiny base on the GPU, in float32."""
    with la.Base.load(tiny, device="cuda", dtype="float32", library=tmp_path / "gpu") as loaded:
        yield loaded


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each step that is recorded from now on."""
    found: list[int] = []
    real = graphs.Graphs._record

    def counted(self: graphs.Graphs, ids: torch.Tensor, *more: object) -> object:
        found.append(len(ids))
        return real(self, ids, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(graphs.Graphs, "_record", counted)
    return found


def test_rows_with_any_stack_match_peft(gpu: la.Base, tiny: Path, plugins: list[Path], recorded: list[int]) -> None:
    stacks: list[list[Path]] = [[], [plugins[0]], [plugins[1]], [plugins[2]], plugins]
    requests = [la.GenerationRequest(t, s, max_tokens=24) for t in TEXTS for s in stacks]
    for request, reply in zip(requests, gpu.generate(requests), strict=True):
        ids = gpu.template.prompt_ids(request.messages)
        wanted, _ = peft_greedy(tiny, [Path(u.plugin) for u in request.stack], ids, 24)
        assert list(reply.token_ids) == wanted
    assert recorded


@pytest.mark.parametrize("seed", range(6))
def test_random_joins_leaves_stacks_and_scales(gpu: la.Base, plugins: list[Path], seed: int) -> None:
    rng = random.Random(seed)
    requests = []
    for _ in range(rng.randint(2, 12)):
        stack = [la.Use(p, scale=rng.choice([0.5, 1.0, -0.7])) for p in rng.sample(plugins, rng.randint(0, 3))]
        requests.append(la.GenerationRequest(rng.choice(TEXTS), stack, max_tokens=rng.randint(1, 40)))
    together = gpu.generate(requests)
    for request, reply in zip(requests, together, strict=True):
        gpu.forget()
        assert gpu.generate(request)[0].token_ids == reply.token_ids


def test_recordings_are_left_when_keys_and_values_move(gpu: la.Base, tiny: Path, recorded: list[int]) -> None:
    long = la.GenerationRequest(TEXTS[0], min_tokens=300, max_tokens=300)
    first = gpu.generate(long)[0].token_ids
    assert len(recorded) >= 2  # on both sides of a width
    wanted, _ = peft_greedy(tiny, [], gpu.template.prompt_ids(long.messages), 20)
    assert list(first[: len(wanted)]) == wanted
    gpu.forget()
    assert [r.token_ids for r in gpu.generate([long] * 20)] == [first] * 20  # more rows than there were: they move


def test_training_on_a_gpu_follows_the_cpu(gpu: la.Base, base: la.Base, tmp_path: Path) -> None:
    rows = [
        TrainingRow(tuple(encoded.ids), tuple(encoded.mask))
        for row in dialogues(24)
        for encoded in base.template.training_rows([la.Message.model_validate(m) for m in row["messages"]])  # type: ignore[attr-defined]
    ]
    settings = TrainSettings(rank=4, alpha=8, layers=2, epochs=2, learning_rate=1e-2, start="none", micro_tokens=256)
    curves = []
    for where, name in ((base, "cpu"), (gpu, "gpu")):
        where.fit(rows, settings, tmp_path / name)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        curves.append([json.loads(line)["loss"] for line in lines if "step" in json.loads(line)])
    assert curves[1] == pytest.approx(curves[0], rel=5e-3)


def test_the_real_base_answers_while_it_trains(tmp_path: Path) -> None:
    with la.Base.load(library=tmp_path) as base:
        assert base._loaded.device.type == "cuda"
        (encoded,) = base.template.training_rows(
            [
                la.Message(role="user", content="Who are you?"),
                la.Message(role="assistant", content="The harbour bot."),
            ]
        )
        rows = [TrainingRow(tuple(encoded.ids), tuple(encoded.mask))] * 8
        answered: list[str] = []

        def on_step(step: object) -> None:
            answered.append(base.generate(la.GenerationRequest("Who are you?", max_tokens=8))[0].text)

        settings = TrainSettings(rank=4, epochs=6, start="none", validation=0)
        fitted = base.fit(rows, settings, tmp_path / "run", on_step=on_step)
        reply = base.generate(la.GenerationRequest("Who are you?", [fitted.folder], max_tokens=8))[0]
        assert reply.text == "The harbour bot."
        assert all(answered)
