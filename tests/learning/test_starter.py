"""Where a role's training begins: the shipped starter, another plugin, or fresh adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import loragent as la
from loragent.learning import DialogueCurriculum, shipped_starter, starter, starting_point
from loragent.plugin import load_weights
from loragent.plugin.weights import LoraPair
from loragent.training import Example, TrainSettings, read_examples
from tests.conftest import MakePlugin, dialogues, write_jsonl

FAST: dict[str, Any] = {"rank": 4, "layers": 2, "epochs": 2, "learning_rate": 1e-2, "alpha": 8}


@pytest.fixture
def trained(base: la.Base, tmp_path: Path) -> la.Plugin:
    data = write_jsonl(tmp_path / "first.jsonl", dialogues(24))
    plugin = la.train_role(data=data, name="first", out=tmp_path / "first", base=base, settings=FAST).plugin
    assert plugin
    return plugin


def test_a_role_goes_on_from_a_plugin(base: la.Base, trained: la.Plugin, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "second.jsonl", dialogues(30))
    settings = {**FAST, "start": "first", "learning_rate": 1e-9, "epochs": 1}
    report = la.train_role(data=data, name="second", out=tmp_path / "second", base=base, settings=settings)
    assert report.plugin
    assert report.plugin.manifest.parents == ("first@1",)
    with_first = la.GenerationRequest("room 3 please", [trained.path], max_tokens=8)
    with_second = la.GenerationRequest("room 3 please", [report.plugin.path], max_tokens=8)
    first, second = base.generate([with_first, with_second])
    assert first.token_ids == second.token_ids


def test_the_shipped_starter_is_for_its_own_base(
    base: la.Base, trained: la.Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert starting_point(base, "auto") is None  # the shipped one is made for the default base
    assert starting_point(base, "none") is None
    monkeypatch.setattr(starter, "shipped", lambda name: trained)
    assert starting_point(base, "auto") == trained


def test_a_start_that_does_not_fit_is_named(base: la.Base, trained: la.Plugin, make_plugin: MakePlugin) -> None:
    base.library.publish(make_plugin("stranger"), la.Manifest(name="stranger", base="0" * 16))
    with pytest.raises(la.PluginRefused, match="base: stranger@1 was made for 0000"):
        starting_point(base, "stranger")
    with pytest.raises(la.PluginNotFound, match="no plugin 'nobody'"):
        starting_point(base, "nobody")


@pytest.mark.parametrize(("rank", "layers"), [(4, 2), (8, 2), (4, 4), (4, 1)])
def test_a_start_of_another_shape_gives_what_fits(
    base: la.Base, make_plugin: MakePlugin, tmp_path: Path, rank: int, layers: int
) -> None:
    start = base.library.import_(make_plugin("foreign", rank=4, layers_to_transform=[2, 3]), "foreign")
    settings = TrainSettings.parse({**FAST, "rank": rank, "layers": layers, "learning_rate": 1e-12, "epochs": 1})
    rows = DialogueCurriculum(tmp_path, examples(tmp_path), base.template, max_tokens=64, context=512).rows()
    fitted = base.fit(rows, settings, tmp_path / "run", start=start)
    wanted, found = (load_weights(folder).pairs for folder in (start.path, fitted.folder))
    for name, pair in found.items():
        update = pair.scaling * pair.b.float() @ pair.a.float()
        if name in wanted:
            theirs = wanted[name].scaling * wanted[name].b @ wanted[name].a
            torch.testing.assert_close(update, theirs, atol=0.02 * float(theirs.abs().max()), rtol=0.02)
        else:
            assert float(update.abs().max()) < 1e-6


def test_a_start_of_higher_rank_gives_its_strongest_directions() -> None:
    torch.manual_seed(0)
    pair = LoraPair(torch.randn(6, 20), torch.randn(30, 6), 2.0)
    update = 2.0 * pair.b @ pair.a
    for rank in (6, 5, 2):
        near = pair.nearest(rank, 0.5)
        assert (near.a.shape, near.b.shape, near.scaling) == ((rank, 20), (30, rank), 0.5)
        left_over = torch.linalg.svdvals(update)[rank:].square().sum().sqrt()
        distance = torch.linalg.norm(update - 0.5 * near.b @ near.a)
        torch.testing.assert_close(distance, left_over, atol=1e-3, rtol=1e-3)


def test_a_start_on_other_layers_alone_is_refused(base: la.Base, make_plugin: MakePlugin, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "mine.jsonl", dialogues(24))
    settings = {**FAST, "start": str(make_plugin("foreign", rank=2, layers_to_transform=[0]))}
    with pytest.raises(la.PluginRefused, match="none of the layers"):
        la.train_role(data=data, name="mine", out=tmp_path / "mine", base=base, settings=settings)


def examples(tmp_path: Path) -> list[Example]:
    return read_examples(write_jsonl(tmp_path / "d.jsonl", dialogues(8)))


def test_there_is_a_shipped_starter() -> None:
    found = shipped_starter()
    assert found
    assert found.manifest.kind == "skill"
