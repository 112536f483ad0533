"""What the engine's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MakePlugin


@pytest.fixture
def plugins(make_plugin: MakePlugin) -> list[Path]:
    """Three of different ranks, layers and scalings."""
    return [
        make_plugin("a", seed=1, rank=4),
        make_plugin("b", seed=2, rank=2, layers_to_transform=[2, 3]),
        make_plugin("c", seed=3, rank=8, use_rslora=True, target_modules=["q_proj", "down_proj"]),
    ]
