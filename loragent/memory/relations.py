"""How people ask for what is often told of somebody or something: ``relations.jsonl``, a line for each relation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .fact import plain


def asked_for(relation: str) -> tuple[str, ...]:
    """Ways of asking for a relation, with ``{s}`` for whose it is; none of one that isn't in the file."""
    return tuple(_common().get(plain(relation), {"ask": ()})["ask"])


def common_name(relation: str) -> str:
    """The name that stands for a relation and all that mean the same; "" of one that isn't in the file."""
    return str(_common().get(plain(relation), {"relation": ""})["relation"])


@cache
def _common() -> Mapping[str, Mapping[str, Any]]:
    """The file's rows, by each name that their relation goes by."""
    lines = Path(__file__).with_name("relations.jsonl").read_text(encoding="utf-8").splitlines()
    return {plain(name): row for row in map(json.loads, lines) for name in (row["relation"], *row["also"])}
