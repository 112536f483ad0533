"""A twin: a second module tree over the same tensors, which may be rewritten without touching the base."""

from __future__ import annotations

import copy
from typing import Any

import torch


def twin_of(model: Any) -> Any:
    """Deep-copy a model but share every parameter and buffer with it.

    The twin costs a few megabytes of Python objects; PEFT and the engine rewrite modules in place, so
    each works on a twin of its own.
    """
    shared: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    memo: dict[int, Any] = dict(shared)
    with torch.no_grad():
        return copy.deepcopy(model, memo)
