"""Conversations of a role's own data, each up to one of its answers."""

from __future__ import annotations

from pathlib import Path

from ..core import Message
from ..training import read_examples
from .spec import RoleSpec


def scenes(spec: RoleSpec, file: Path | None = None) -> list[tuple[Message, ...]]:
    """One of each dialogue, now up to an early answer or call, now to a late one; none of a role without data.

    Args:
        file: by default its training data.
    """
    found, file = [], file or spec.train_file
    for example in read_examples(file) if file.is_file() else []:
        said = example.messages
        ends = [at for at, m in enumerate(said) if m.role == "assistant" and m.trained]
        if ends:
            found.append(said[: ends[example.line % len(ends)]])
    return found
