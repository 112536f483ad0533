"""Which plugins are in memory, and what becomes of rows when they are not any more."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import loragent as la
from loragent.plugin import load_weights
from tests.conftest import MakePlugin


@pytest.fixture
def plugins(make_plugin: MakePlugin) -> list[Path]:
    return [make_plugin(f"p{n}", seed=n) for n in range(4)]


@pytest.fixture
def narrow(tiny: Path, tmp_path: Path, plugins: list[Path]) -> Iterator[la.Base]:
    """A base whose engine has room for two of the plugins."""
    with la.Base.load(tiny, device="cpu", library=tmp_path / "library") as base:
        one = base._engine.intake._slots.get(base.library.resolve(plugins[0])).nbytes
    limits = la.Limits(plugin_bytes=2 * one + one // 2)
    with la.Base.load(tiny, device="cpu", library=tmp_path / "library", limits=limits) as base:
        yield base


def resident(base: la.Base, plugins: list[Path]) -> list[int]:
    keys = [base.library.resolve(p).key for p in plugins]
    return [n for n, key in enumerate(keys) if key in base._engine.intake._slots._resident]


def answer(base: la.Base, plugin: Path) -> tuple[int, ...]:
    return base.generate([la.GenerationRequest("hello", [plugin], max_tokens=6)])[0].token_ids


def test_the_least_recently_used_goes_first_and_answers_stay_the_same(narrow: la.Base, plugins: list[Path]) -> None:
    first = [answer(narrow, plugin) for plugin in plugins]
    assert resident(narrow, plugins) == [2, 3]
    assert [answer(narrow, plugins[n]) for n in (2, 0)] == [first[2], first[0]]
    assert resident(narrow, plugins) == [0, 2]
    assert narrow._engine.intake._slots.nbytes <= narrow._engine._limits.plugin_bytes


def test_a_pinned_plugin_stays_until_it_was_unpinned_as_often(narrow: la.Base, plugins: list[Path]) -> None:
    narrow.pin(plugins[0])
    narrow.pin(plugins[0])
    for plugin in plugins[1:]:
        answer(narrow, plugin)
    assert 0 in resident(narrow, plugins)
    narrow.unpin(plugins[0])
    answer(narrow, plugins[1])
    assert 0 in resident(narrow, plugins)
    narrow.unpin(plugins[0])
    narrow.unpin(plugins[0])  # once too often does no harm
    for plugin in plugins[1:]:
        answer(narrow, plugin)
    assert 0 not in resident(narrow, plugins)


def test_a_pin_is_undone_after_another_version_was_published(narrow: la.Base, plugins: list[Path]) -> None:
    for plugin in plugins[:2]:
        narrow.library.publish(plugin, la.Manifest(name="clerk", base=narrow.fingerprint))
        narrow.pin("clerk")
    narrow.unpin("clerk")
    narrow.unpin("clerk")
    assert not narrow._engine.intake._slots._pins


def test_what_cannot_be_pinned_is_not_pinned(narrow: la.Base, plugins: list[Path]) -> None:
    with pytest.raises(la.PluginNotFound):
        narrow.pin("nobody")
    (plugins[0] / "adapter_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(la.PluginRefused):
        narrow.pin(plugins[0])
    assert not narrow._engine.intake._slots._pins


def test_callers_who_want_the_same_plugin_load_it_once(
    narrow: la.Base, plugins: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    monkeypatch.setattr(
        "loragent.engine.slots.load_weights",
        lambda *a: (loads.append(threading.current_thread().name), load_weights(*a))[1],
    )
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: answer(narrow, plugins[0]), range(8)))) == 1
    assert len(loads) == 1
    assert not loads[0].startswith("loragent-compute")  # rows in flight go on meanwhile


def test_a_plugin_that_is_deleted_while_in_use_answers_to_the_end(base: la.Base, plugins: list[Path]) -> None:
    base.library.publish(plugins[0], la.Manifest(name="clerk", base=base.fingerprint))
    request = la.GenerationRequest("hello", ["clerk"], min_tokens=60, max_tokens=60)
    wanted = base.generate([request])[0].token_ids
    base.forget()
    row = base._engine.submit(request)
    shutil.rmtree(base.library.root / "clerk")
    with pytest.raises(la.PluginNotFound):
        base.generate([request])
    assert row.result(10).token_ids == wanted


def test_a_running_row_keeps_the_version_that_it_began_with(base: la.Base, plugins: list[Path]) -> None:
    manifest = la.Manifest(name="clerk", base=base.fingerprint)
    base.library.publish(plugins[0], manifest)
    request = la.GenerationRequest("hello", ["clerk"], min_tokens=60, max_tokens=60)
    old = base.generate([request])[0]
    row = base._engine.submit(request)
    base.library.publish(plugins[1], manifest)
    new = base.generate([request])[0]
    assert [m.version for m in (*old.stack, *row.result(10).stack, *new.stack)] == [1, 1, 2]
    assert row.result(10).token_ids == old.token_ids != new.token_ids
    base.library.rollback("clerk")
    assert base.generate([request])[0].token_ids == old.token_ids


def test_a_full_library_names_those_that_are_meant(base: la.Base, plugins: list[Path]) -> None:
    base.library.publish(plugins[0], la.Manifest(name="concierge"))
    with pytest.raises(la.PluginNotFound, match=r"there: concierge$"):
        base.library.resolve("concirge")
    for n in range(20):
        base.library.publish(plugins[0], la.Manifest(name=f"other-{n}"))
    with pytest.raises(la.PluginNotFound, match=r"there: concierge \(of 21"):
        base.library.resolve("concirge")
