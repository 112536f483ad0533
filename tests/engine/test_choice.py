"""Which dtype answers by default on a CPU."""

from __future__ import annotations

import json

import pytest

from loragent.engine import choice, fastest, speeds
from loragent.engine.choice import onednn_is_faster
from loragent.model import home


def test_it_is_measured_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    first = speeds()
    assert set(first) >= {"float32", "bfloat16", "int8"}
    assert fastest() == min(first, key=first.__getitem__).split()[0]
    assert onednn_is_faster() is (first.get(choice.BY_ONEDNN, 1e9) < first["float32"])
    monkeypatch.setattr(choice, "_measure", lambda: {"float32": 1.0})
    assert speeds() == first
    file = home() / choice.FILE
    file.write_text(json.dumps({"machine": "another", "speeds": {"int8": 1.0}}))
    assert speeds() == {"float32": 1.0}
    file.write_text("half")
    assert fastest() == "float32"
