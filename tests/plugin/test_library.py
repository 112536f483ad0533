"""Publishing, finding, rolling back, importing, and surviving a kill at any instant."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

import loragent as la
from loragent.plugin import Shelf
from tests.conftest import MakePlugin


@pytest.fixture
def library(tmp_path: Path) -> la.Library:
    return la.Library(tmp_path / "lib")


def publish(library: la.Library, folder: Path, name: str = "clerk") -> la.Plugin:
    return library.publish(folder, la.Manifest(name=name, base="f" * 16))


def test_versions_follow_each_other_and_stay_as_they_are(library: la.Library, make_plugin: MakePlugin) -> None:
    first = publish(library, make_plugin("a", seed=1))
    second = publish(library, make_plugin("b", seed=2))
    assert [str(first), str(second)] == ["clerk@1", "clerk@2"]
    assert library.resolve("clerk").version == 2
    assert library.resolve("clerk@1").manifest.sha256 == first.manifest.sha256
    assert library.names() == ["clerk"]
    assert [str(p) for p in library.list()] == ["clerk@2"]


def test_rollback_moves_the_pointer_and_numbers_are_never_used_again(
    library: la.Library, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("a")
    for _ in range(3):
        publish(library, folder)
    assert library.rollback("clerk").version == 2
    assert library.rollback("clerk", to=1).version == 1
    library.remove("clerk@3")
    assert publish(library, folder).version == 4
    assert library.gc(keep=1) == {"clerk": [1, 2]}
    assert library.resolve("clerk").version == 4


def test_noted_scores_leave_the_weights_and_the_other_versions_alone(
    library: la.Library, make_plugin: MakePlugin
) -> None:
    first, second = publish(library, make_plugin("a", seed=1)), publish(library, make_plugin("b", seed=2))
    noted = library.shelf("clerk").note_scores({"nll": 3.0}, {"nll": 0.5})
    assert library.resolve("clerk") == noted
    assert (noted.manifest.before, noted.manifest.after) == ({"nll": 3.0}, {"nll": 0.5})
    assert (noted.version, noted.key) == (2, second.key)
    assert library.resolve("clerk@1").manifest == first.manifest
    assert not list(library.shelf("clerk").path.glob(".part-*"))


def test_the_version_in_use_is_not_removed(library: la.Library, make_plugin: MakePlugin) -> None:
    publish(library, make_plugin("a"))
    with pytest.raises(la.PluginError, match="in use"):
        library.remove("clerk@1")
    library.remove("clerk")
    assert library.names() == []


def test_unknown_names_and_versions_say_what_is_there(library: la.Library, make_plugin: MakePlugin) -> None:
    publish(library, make_plugin("a"))
    with pytest.raises(la.PluginNotFound, match="there: clerk"):
        library.resolve("clark")
    with pytest.raises(la.PluginNotFound, match="there: 1"):
        library.resolve("clerk@9")
    with pytest.raises(la.PluginNotFound, match="name@2"):
        library.resolve("clerk@new")


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "x" * 65])
def test_no_name_leaves_the_library(library: la.Library, make_plugin: MakePlugin, name: str) -> None:
    with pytest.raises((la.PluginRefused, ValueError)):
        publish(library, make_plugin("a"), name)
    with pytest.raises(la.PluginError):
        library.shelf(name)


def test_export_and_import_keep_the_weights(library: la.Library, make_plugin: MakePlugin, tmp_path: Path) -> None:
    published = publish(library, make_plugin("a"))
    folder = library.export("clerk", tmp_path / "out")
    other = la.Library(tmp_path / "other")
    imported = other.import_(folder, "guest", base="f" * 16)
    assert imported.manifest.sha256 == published.manifest.sha256
    assert str(imported) == "guest@1"
    with pytest.raises(la.PluginError, match="not empty"):
        library.export("clerk", tmp_path / "out")


def test_a_plain_peft_folder_is_imported_and_checked(base: la.Base, make_plugin: MakePlugin) -> None:
    plugin = base.library.import_(make_plugin("a"), "plain", base=base.fingerprint, shapes=base.shapes)
    assert plugin.manifest.base == base.fingerprint
    assert base.generate([la.GenerationRequest("hello", ["plain"], max_tokens=2)])[0].stack[0].name == "plain"


def test_a_folder_for_another_base_is_not_imported(
    library: la.Library, make_plugin: MakePlugin, tmp_path: Path
) -> None:
    publish(library, make_plugin("a"))
    folder = library.export("clerk", tmp_path / "out")
    with pytest.raises(la.PluginRefused) as caught:
        la.Library(tmp_path / "other").import_(folder, base="0" * 16)
    assert caught.value.field == "base"


def test_diff_names_fields_and_layers(library: la.Library, make_plugin: MakePlugin) -> None:
    publish(library, make_plugin("a", seed=1))
    publish(library, make_plugin("b", seed=2))
    found = library.diff("clerk@1", "clerk@2")
    assert found.fields["version"] == (1, 2)
    assert len(found.layers) == 28
    assert all(d > 0 for d in found.layers.values())
    assert max(library.diff("clerk@1", "clerk@1").layers.values()) == 0


def test_an_attached_shelf_is_known_by_its_name(library: la.Library, make_plugin: MakePlugin, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "role" / "plugin")
    library.publish(make_plugin("a"), la.Manifest(name="concierge"), shelf=shelf)
    assert library.names() == []
    assert library.attach(shelf.path) == "concierge"
    assert str(library.resolve("concierge")) == "concierge@1"
    assert str(library.resolve(shelf.path)) == "concierge@1"
    other = Shelf(tmp_path / "other" / "plugin")
    library.publish(make_plugin("b", seed=2), la.Manifest(name="concierge"), shelf=other)
    library.attach(other.path, replace=False)
    assert library.resolve("concierge").path.is_relative_to(shelf.path)


def _publish_forever(root: Path, folder: Path) -> None:
    library = la.Library(root)
    while True:
        library.publish(folder, la.Manifest(name="clerk"))


def test_killed_at_any_instant_the_library_resolves(library: la.Library, make_plugin: MakePlugin) -> None:
    folder = make_plugin("a")
    publish(library, folder)
    context = multiprocessing.get_context("fork")
    for delay in (0.002, 0.011, 0.023, 0.037, 0.051):
        process = context.Process(target=_publish_forever, args=(library.root, folder))
        process.start()
        time.sleep(delay)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        plugin = library.resolve("clerk")
        assert (plugin.path / "adapter_model.safetensors").stat().st_size > 0
        assert plugin.manifest.sha256
    publish(library, folder)
    library.gc(keep=1)
    assert not [p for p in (library.root / "clerk").iterdir() if p.name.startswith(".part-")]


def test_a_broken_pointer_is_named(library: la.Library, make_plugin: MakePlugin) -> None:
    publish(library, make_plugin("a"))
    (library.root / "clerk" / "pointer.json").write_text("{")
    with pytest.raises(la.PluginRefused) as caught:
        library.resolve("clerk")
    assert caught.value.field == "pointer.json"
    assert str(library.rollback("clerk", to=1)) == "clerk@1"
    assert str(library.resolve("clerk")) == "clerk@1"


def test_a_full_disk_keeps_the_old_version(
    library: la.Library, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_plugin("a")
    publish(library, folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(la.PluginError, match="No space left"):
        publish(library, folder)
    assert library.resolve("clerk").version == 1


def test_the_manifest_names_a_bad_field(library: la.Library, make_plugin: MakePlugin) -> None:
    plugin = publish(library, make_plugin("a"))
    raw = json.loads((plugin.path / "plugin.json").read_text())
    (plugin.path / "plugin.json").write_text(json.dumps(raw | {"kind": "spell"}))
    with pytest.raises(la.PluginRefused) as caught:
        library.resolve("clerk")
    assert caught.value.field == "kind"
