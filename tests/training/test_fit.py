"""The training loop: it learns, resumes to the same curve, shares the base, and is stopped cleanly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.utils.checkpoint import checkpoint
from transformers import LlamaForCausalLM

import loragent as la
from loragent.core import Teacher, TrainingRow
from loragent.model import load_model, twin_of
from loragent.training import TrainSettings, attention, fit, loss, network, room, trunk
from loragent.training import streamline as streamline_module
from loragent.training import variants as variants_module
from loragent.training.loss import head_distillation, head_score
from loragent.training.streamline import streamline
from loragent.training.trunk import Split
from tests.conftest import MakePlugin, dialogues

SETTINGS = TrainSettings(
    rank=4, alpha=8, layers=2, epochs=4, batch_rows=4, learning_rate=1e-2, validation=0.2, micro_tokens=128
)


@pytest.fixture
def rows(base: la.Base) -> list[TrainingRow]:
    encoded = [
        e
        for d in dialogues(24)
        for e in base.template.training_rows([la.Message.from_wire(m) for m in d["messages"]])  # type: ignore[attr-defined]
    ]
    return [TrainingRow(tuple(e.ids), tuple(e.mask), line) for line, e in enumerate(encoded, start=1)]


def losses(workdir: Path) -> list[float]:
    return [
        r["loss"] for line in (workdir / "metrics.jsonl").read_text().splitlines() if "loss" in (r := json.loads(line))
    ]


def test_it_learns_and_the_result_loads_in_stock_peft(
    base: la.Base, tiny: Path, rows: list[TrainingRow], tmp_path: Path
) -> None:
    before = base.score(rows)
    fitted = base.fit(rows, SETTINGS, tmp_path / "run")
    after = base.score(rows, [fitted.folder])
    assert sum(s.nll for s in after) < 0.8 * sum(s.nll for s in before)
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tiny), fitted.folder)
    row = rows[0]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1]
    on = torch.tensor(row.mask[1:])
    nll = torch.nn.functional.cross_entropy(logits[on], torch.tensor(row.ids[1:])[on], reduction="sum")
    assert float(nll) == pytest.approx(after[0].nll, abs=1e-3)
    names = {k.split(".")[4] for k in load_file(fitted.folder / "adapter_model.safetensors")}
    assert names == {"2", "3"}


def test_the_base_is_untouched_and_shared(tiny: Path, rows: list[TrainingRow], tmp_path: Path) -> None:
    loaded = load_model(tiny, "cpu", None)
    before = {n: p.clone() for n, p in loaded.model.named_parameters()}
    twin = twin_of(loaded.model)
    assert all(a is b for a, b in zip(loaded.model.parameters(), twin.parameters(), strict=True))
    fit(loaded, rows, SETTINGS, tmp_path / "run")
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, before[name])


class Killed(Exception):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("at", [3, 7, 12])
@pytest.mark.parametrize("known", [0.0, 3.0])
def test_a_stopped_run_resumes_to_the_same_curve(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, known: float
) -> None:
    monkeypatch.setattr("loragent.training.loop.CHECKPOINT_SECONDS", 0.0)
    rows = [replace(row, group=str(n % 3)) for n, row in enumerate(rows)]
    settings = SETTINGS.model_copy(update={"known": known})
    whole = base.fit(rows, settings, tmp_path / "whole")

    def kill(step: object) -> None:
        if step.step >= at:  # type: ignore[attr-defined]
            raise Killed

    with pytest.raises(Killed):
        base.fit(rows, settings, tmp_path / "parts", on_step=kill)
    resumed = base.fit(rows, settings, tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    first, second = (load_file(f.folder / "adapter_model.safetensors") for f in (whole, resumed))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_another_runs_checkpoint_is_refused(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loragent.training.loop.CHECKPOINT_SECONDS", 0.0)

    def kill(_: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        base.fit(rows, SETTINGS, tmp_path / "run", on_step=kill)
    with pytest.raises(la.TrainingError, match="another run"):
        base.fit(rows, SETTINGS.model_copy(update={"seed": 1}), tmp_path / "run", resume=True)


def test_of_like_epochs_the_later_one_is_kept(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = iter([500, 495, 400, 300])  # of 1000 held-out tokens
    monkeypatch.setattr(network.Network, "score", lambda self, part: (1.0, next(hits), 1000))
    one_part = SETTINGS.model_copy(update={"micro_tokens": 4096})
    assert base.fit(rows, one_part, tmp_path / "run").best_epoch == 2


def test_two_trainings_into_one_place(base: la.Base, rows: list[TrainingRow], tmp_path: Path) -> None:
    def second(_: object) -> None:
        with pytest.raises(la.TrainingError, match="another training runs"):
            base.fit(rows, SETTINGS, tmp_path / "run")
        raise Killed

    with pytest.raises(Killed):
        base.fit(rows, SETTINGS, tmp_path / "run", on_step=second)


def test_the_base_answers_while_it_trains(base: la.Base, rows: list[TrainingRow], tmp_path: Path) -> None:
    wanted = base.generate([la.GenerationRequest("hello", max_tokens=6)])[0].token_ids
    found = []

    def ask(_: object) -> None:
        found.append(base.generate([la.GenerationRequest("hello", max_tokens=6)])[0].token_ids)

    base.fit(rows, SETTINGS.model_copy(update={"epochs": 1}), tmp_path / "run", on_step=ask)
    assert set(found) == {wanted}


def test_bad_settings_are_named() -> None:
    with pytest.raises(la.TrainingError, match="rank"):
        TrainSettings.parse({"rank": 0})
    with pytest.raises(la.TrainingError, match="ranks"):
        TrainSettings.parse({"ranks": 4})


def test_a_diverging_run_says_so(base: la.Base, rows: list[TrainingRow], tmp_path: Path) -> None:
    with pytest.raises(la.TrainingError, match="learning_rate"):
        base.fit(rows, SETTINGS.model_copy(update={"learning_rate": 1e30}), tmp_path / "run")


def test_trunk_and_top_are_the_whole(tiny: Path) -> None:
    loaded = load_model(tiny, "cpu", None)
    split = Split(twin_of(loaded.model).get_decoder(), layers=2)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert split.cuts
    torch.testing.assert_close(split.above(split.below(ids)), split.whole(ids))


@pytest.mark.parametrize("place", [0, 1 << 20], ids=["nothing is kept", "everything is kept"])
def test_the_trunk_reads_each_row_once_and_ahead(tiny: Path, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(tiny, "cpu", None)
    split = Split(twin_of(loaded.model).get_decoder(), layers=2)
    rows = [tuple(range(5, 5 + length)) for length in (4, 6, 6, 11, 5, 40)]  # two of them the same
    wanted = [split.whole(torch.tensor([ids]))[0] for ids in rows]
    monkeypatch.setattr(trunk, "room", lambda device: replace(room.room(device), trunk=place))
    hidden, read = trunk.HiddenStates(split, rows, loaded.device, torch.float32), list[tuple[int, ...]]()
    below = split.below
    monkeypatch.setattr(split, "below", lambda ids: read.append(tuple(ids.shape)) or below(ids))
    for batch in ([0, 3], [1], [4], [5, 2], [0, 1]):
        for row, found in zip(batch, hidden.final(batch), strict=True):
            torch.testing.assert_close(found[: len(rows[row])], wanted[row])
    assert read == ([(2, 12), (2, 6), (1, 40)] if place else [(2, 12), (1, 6), (1, 6), (2, 40), (2, 6)])


@pytest.mark.parametrize(("lasting", "wanted"), [(1 << 20, [2, 1]), (0, [2, 2])], ids=["room", "none"])
def test_common_rows_are_read_once_for_all_runs(
    tiny: Path, lasting: int, wanted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where they don't fit once a run."""
    monkeypatch.setattr(trunk, "LASTING", lasting)
    loaded, read = load_model(tiny, "cpu", None), list[int]()
    split = Split(twin_of(loaded.model).get_decoder(), layers=2)
    below, rows = split.below, [(5, 6, 7), (8, 9)]
    monkeypatch.setattr(split, "below", lambda ids: read.append(len(ids)) or below(ids))
    for _ in range(2):
        common = (trunk.lasting(loaded.model, 2), frozenset(rows[:1]))
        hidden = trunk.HiddenStates(split, rows, loaded.device, torch.float32, common)
        for _ in range(2):
            torch.testing.assert_close(hidden.final([0, 1])[1, :2], split.whole(torch.tensor([rows[1]]))[0])
    assert read == wanted


@pytest.mark.parametrize(
    ("activation", "compute"),
    [(None, torch.float32), (None, torch.bfloat16), (torch.nn.GELU(), torch.float32)],
    ids=["silu", "bfloat16", "gelu"],
)
def test_the_lean_forward_has_pefts_values_and_gradients(
    tiny: Path, activation: torch.nn.Module | None, compute: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a layer of another kind keeps its own forward."""
    monkeypatch.setattr(attention, "BLOCK", 2)
    gradients = []
    for lean in (False, True):
        twin = twin_of(load_model(tiny, "cpu", None).model)
        for layer in twin.get_decoder().layers if activation else []:
            layer.mlp.act_fn = activation
        adapted = variants_module.inject(twin, SETTINGS, "tiny")
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.manual_seed(len(name))
                parameter.data.normal_(0, 0.1)
        decoder = twin.get_decoder()
        if lean:
            whole = streamline(decoder, decoder.layers[-SETTINGS.layers :], compute)
            assert whole == (activation is None)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=compute == torch.bfloat16):
            hidden = decoder(input_ids=torch.tensor([[5, 6, 7, 8, 9]] * 2), use_cache=False).last_hidden_state
        towards = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
        (hidden.float() * towards).sum().backward()
        gradients.append([hidden.detach(), *(p.grad for p in adapted.parameters() if p.requires_grad)])
    for plain, fast in zip(*gradients, strict=True):
        if compute == torch.bfloat16:
            assert (plain - fast).norm() < 0.1 * plain.norm()  # two roundings to eight bits, layer after layer
        else:
            torch.testing.assert_close(plain, fast, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layers", [0, 3])
def test_recomputed_layers_give_the_same_curve(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: int
) -> None:
    settings = SETTINGS.model_copy(update={"layers": layers, "epochs": 1})
    curves, counts = [], []
    recomputed: list[object] = []

    def counted(*args: Any, **options: Any) -> Any:
        recomputed.append(args)
        return checkpoint(*args, **options)

    monkeypatch.setattr(streamline_module, "checkpoint", counted)
    for kept in (1 << 30, 400_000, 0):  # all, some, none of a step's layers
        monkeypatch.setattr(room, "_CPU", replace(room._CPU, kept=kept))
        recomputed.clear()
        base.fit(rows, settings, tmp_path / str(kept))
        curves.append(losses(tmp_path / str(kept)))
        counts.append(len(recomputed))
    assert counts[0] == 0
    assert counts[0] <= counts[1] <= counts[2]
    assert counts[2] > 0
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    assert curves[2] == pytest.approx(curves[0], rel=1e-4)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)], ids=str)
def test_head_loss_is_cross_entropy(dtype: torch.dtype, near: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "room", lambda device: replace(room.room(device), vocabulary=16))
    torch.manual_seed(0)
    hidden, head = torch.randn(300, 8, requires_grad=True), torch.randn(40, 8).to(dtype)
    targets = torch.randint(0, 40, (300,))
    wanted = torch.nn.functional.cross_entropy(hidden @ head.float().T, targets, reduction="none")
    (expected,) = torch.autograd.grad(wanted.sum(), hidden)
    found = head_distillation(hidden, targets[:, None], torch.ones(300, 1), head=head)
    (grad,) = torch.autograd.grad(found.sum(), hidden)
    torch.testing.assert_close(found, wanted, atol=3 * near, rtol=1e-4)
    torch.testing.assert_close(grad, expected, atol=near, rtol=max(near, 1e-4))
    losses, hits = head_score(hidden, head, targets)
    torch.testing.assert_close(losses, found)
    best = (hidden @ head.float().T).argmax(-1)
    assert int((hits != (best == targets)).sum()) <= (
        0 if dtype == torch.float32 else 3
    )  # those that are about as high


def test_distillation_is_cross_entropy_against_the_teacher() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(30, 8, requires_grad=True), torch.randn(40, 8)
    mass, ids = torch.softmax(torch.randn(30, 40), -1).topk(5)
    mass = mass / mass.sum(-1, keepdim=True)
    log_p = torch.log_softmax(hidden @ head.T, -1)
    wanted = -(mass * log_p.gather(1, ids)).sum()
    (expected,) = torch.autograd.grad(wanted, hidden)
    found = head_distillation(hidden, ids, mass, head=head).sum()
    (grad,) = torch.autograd.grad(found, hidden)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(grad, expected, atol=1e-5, rtol=1e-4)


def test_rows_with_teachers_train(base: la.Base, rows: list[TrainingRow], tmp_path: Path) -> None:
    teachers = base.teach(rows)
    assert isinstance(teachers[0], Teacher)
    assert len(teachers[0].ids) == rows[0].targets
    soft = [TrainingRow(r.ids, r.mask, r.line, t) for r, t in zip(rows, teachers, strict=True)]
    fitted = base.fit(soft, SETTINGS.model_copy(update={"epochs": 1, "validation": 0.0}), tmp_path / "run")
    assert fitted.best_epoch == 1


def test_rows_with_and_without_teachers_train_together(base: la.Base, rows: list[TrainingRow], tmp_path: Path) -> None:
    """A token alone is a teacher that is certain of it."""

    def certain(row: TrainingRow) -> TrainingRow:
        tokens = [token for token, on in zip(row.ids[1:], row.mask[1:], strict=True) if on]
        return replace(row, teacher=Teacher(tuple((t,) for t in tokens), tuple((1.0,) for _ in tokens)))

    soft = [replace(row, teacher=t) for row, t in zip(rows[:4], base.teach(rows[:4]), strict=True)]
    settings = SETTINGS.model_copy(update={"epochs": 1, "validation": 0.0})
    losses = []
    for name, others in (("mixed", rows[4:8]), ("certain", [certain(row) for row in rows[4:8]])):
        fitted = base.fit([*soft, *others], settings, tmp_path / name)
        steps = [json.loads(line) for line in (fitted.folder / "metrics.jsonl").read_text().splitlines()]
        losses.append([step["loss"] for step in steps])
    assert losses[0] == losses[1]


def test_a_plugin_is_trained_on_top_of_others(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path, make_plugin: MakePlugin
) -> None:
    beneath, alone = [la.Use(make_plugin("under"), scale=0.5)], base.score(rows)
    under = base.score(rows, beneath)
    slow = SETTINGS.model_copy(update={"learning_rate": 1e-9, "epochs": 1, "validation": 0.0, "batch_rows": len(rows)})
    base.fit(rows, slow, tmp_path / "slow", beneath=beneath)
    mean = sum(s.nll for s in under) / sum(s.tokens for s in under)
    assert losses(tmp_path / "slow")[0] == pytest.approx(mean, rel=1e-4)
    fitted = base.fit(rows, SETTINGS, tmp_path / "run", beneath=beneath)
    over = base.score(rows, [*beneath, fitted.folder])
    assert sum(s.nll for s in over) < 0.8 * sum(s.nll for s in under)
    assert base.score(rows) == alone  # the base's own tensors are as they were


def test_another_plugin_beneath_is_another_run(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path, make_plugin: MakePlugin
) -> None:
    base.fit(rows, SETTINGS, tmp_path / "run")
    with pytest.raises(la.TrainingError, match="another run"):
        base.fit(rows, SETTINGS, tmp_path / "run", beneath=[la.Use(make_plugin("under"))], resume=True)
