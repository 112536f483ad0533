"""How people ask for what is often told of somebody or something: ``relations.jsonl``, a line for each relation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .fact import plain


def asked_for(relation: str) -> tuple[str, ...]:
    """Ways of asking for a relation, with ``{s}`` for whose it is; none of one that isn't in the file."""
    return _ways().get(plain(relation), ())


@cache
def _ways() -> Mapping[str, tuple[str, ...]]:
    lines = Path(__file__).with_name("relations.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {plain(name): tuple(row["ask"]) for row in rows for name in (row["relation"], *row["also"])}
