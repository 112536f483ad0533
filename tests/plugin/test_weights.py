"""What a plugin folder may hold, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import loragent as la
from loragent.plugin import CONFIG, WEIGHTS, Manifest, load_weights, soften
from tests.conftest import MakePlugin


def edit_config(folder: Path, **fields: object) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(folder: Path, base: la.Base | None = None, manifest: Manifest | None = None) -> str:
    with pytest.raises(la.PluginRefused) as caught:
        load_weights(folder, base.shapes if base else None, manifest)
    return caught.value.field


def test_a_softened_plugin_does_less_of_the_same(make_plugin: MakePlugin) -> None:
    folder = make_plugin("a", rank=4)
    before = load_weights(folder)
    soften(folder, 0.5)
    after = load_weights(folder)
    assert after.pairs.keys() == before.pairs.keys()
    for name, pair in before.pairs.items():
        torch.testing.assert_close(after.pairs[name].b, pair.b * 0.5)
        torch.testing.assert_close(after.pairs[name].a, pair.a)
    assert not list(folder.glob("*.softened"))


def test_scaling_follows_peft(make_plugin: MakePlugin) -> None:
    plain = load_weights(make_plugin("a", rank=4))
    assert {p.scaling for p in plain.pairs.values()} == {2.0}
    stabilised = load_weights(make_plugin("b", rank=4, use_rslora=True))
    assert {p.scaling for p in stabilised.pairs.values()} == {4.0}
    patterned = load_weights(make_plugin("c", rank=4, alpha_pattern={"q_proj": 16}, rank_pattern={"k_proj": 2}))
    assert patterned.pairs["model.layers.0.self_attn.q_proj"].scaling == 4.0
    assert patterned.pairs["model.layers.0.self_attn.k_proj"].a.shape[0] == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "IA3"),
        ("use_dora", True),
        ("bias", "all"),
        ("modules_to_save", ["lm_head"]),
        ("fan_in_fan_out", True),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "olora"),
    ],
)
def test_more_than_plain_lora_is_refused_by_field(make_plugin: MakePlugin, field: str, value: object) -> None:
    folder = make_plugin("a")
    edit_config(folder, **{field: value})
    assert refused(folder) == field


def test_a_pickle_is_never_read(make_plugin: MakePlugin) -> None:
    folder = make_plugin("a")
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    assert refused(folder) == "adapter_model.bin"


def test_a_truncated_file_is_refused(make_plugin: MakePlugin) -> None:
    folder = make_plugin("a")
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    assert refused(folder) == WEIGHTS


def test_a_tampered_file_is_refused(make_plugin: MakePlugin, tmp_path: Path) -> None:
    plugin = la.Library(tmp_path / "lib").publish(make_plugin("a"), Manifest(name="a"))
    path = plugin.path / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert refused(plugin.path, manifest=plugin.manifest) == "sha256"


def test_a_changed_config_is_refused(make_plugin: MakePlugin, tmp_path: Path) -> None:
    plugin = la.Library(tmp_path / "lib").publish(make_plugin("a"), Manifest(name="a"))
    edit_config(plugin.path, lora_alpha=800)
    assert refused(plugin.path, manifest=plugin.manifest) == "config_sha256"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(make_plugin: MakePlugin, bad: float) -> None:
    folder = make_plugin("a")
    tensors = load_file(folder / WEIGHTS)
    name = next(iter(tensors))
    tensors[name][0, 0] = bad
    save_file(tensors, folder / WEIGHTS)
    assert "layers" in refused(folder)


def test_another_shape_and_an_unknown_layer_are_refused(base: la.Base, make_plugin: MakePlugin) -> None:
    folder = make_plugin("a")
    tensors = load_file(folder / WEIGHTS)
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    save_file({**tensors, key: torch.zeros(8, 4)}, folder / WEIGHTS)
    assert refused(folder, base) == "model.layers.0.self_attn.q_proj"
    renamed = {k.replace("layers.0.", "layers.9."): t for k, t in tensors.items()}
    save_file(renamed, folder / WEIGHTS)
    assert "layers.9" in refused(folder, base)


def test_a_folder_without_config_or_weights_is_refused(tmp_path: Path, make_plugin: MakePlugin) -> None:
    folder = make_plugin("a")
    (folder / WEIGHTS).unlink()
    assert refused(folder) == WEIGHTS
    (folder / CONFIG).write_text("{")
    assert refused(folder) == CONFIG
    (folder / CONFIG).unlink()
    assert refused(folder) == CONFIG
