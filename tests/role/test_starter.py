"""Where a role's training begins: the shipped starter, another plugin, or fresh adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import loragent as la
from loragent.role import shipped_starter, starter, starting_point
from loragent.training import TrainSettings
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


def test_the_shipped_starter_is_for_its_own_base_and_shape(
    base: la.Base, trained: la.Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert starting_point(base, TrainSettings()) is None  # the shipped one is made for the default base
    assert starting_point(base, TrainSettings(start="none")) is None
    monkeypatch.setattr(starter, "PLACES", (trained.path.parent,))
    assert starting_point(base, TrainSettings.parse(FAST)) == trained
    assert starting_point(base, TrainSettings.parse({**FAST, "rank": 8})) is None


def test_a_start_that_does_not_fit_is_named(base: la.Base, trained: la.Plugin, make_plugin: MakePlugin) -> None:
    with pytest.raises(la.PluginRefused, match="rank: first@1 has 4, 8 is asked for — set rank=4, or start=none"):
        starting_point(base, TrainSettings.parse({**FAST, "rank": 8, "start": "first"}))
    with pytest.raises(la.PluginNotFound, match="no plugin 'nobody'"):
        starting_point(base, TrainSettings(start="nobody"))


def test_a_foreign_start_is_checked_when_it_is_loaded(base: la.Base, make_plugin: MakePlugin, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "mine.jsonl", dialogues(24))
    settings = {**FAST, "start": str(make_plugin("foreign", rank=2, layers_to_transform=[2, 3]))}
    with pytest.raises(la.PluginRefused, match="the start has rank 2"):
        la.train_role(data=data, name="mine", out=tmp_path / "mine", base=base, settings=settings)
    settings["start"] = str(make_plugin("whole", rank=4))
    with pytest.raises(la.PluginRefused, match=r"layers\.0\..*is not in both"):
        la.train_role(data=data, name="mine", out=tmp_path / "mine", base=base, settings=settings)


def test_there_is_a_shipped_starter() -> None:
    found = shipped_starter()
    assert found
    assert found.manifest.kind == "skill"
    defaults = TrainSettings().model_dump()
    assert all(found.manifest.settings[field] == defaults[field] for field in starter.SHAPE)
