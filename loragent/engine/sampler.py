"""From logits to the next token, with settings of its own for every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one row samples; see :class:`loragent.GenerationRequest`."""

    temperature: float
    top_p: float
    generator: torch.Generator | None


def sample(logits: Tensor, rows: Sequence[Sampling], banned: Sequence[Sequence[int]]) -> list[int]:
    """Pick one token a row.

    Args:
        logits: [rows, vocabulary]; changed in place.
        banned: token ids that a row may not take now.
    """
    for i, ids in enumerate(banned):
        if ids:
            logits[i, list(ids)] = -torch.inf
    greedy = logits.argmax(-1).tolist()
    return [greedy[i] if s.temperature == 0 else _draw(logits[i], s) for i, s in enumerate(rows)]


def _draw(logits: Tensor, row: Sampling) -> int:
    """Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751); logits: [vocabulary]."""
    # On the CPU in fp32 a seed means the same draw on every device.
    probabilities = torch.softmax(logits.float().cpu() / row.temperature, -1)
    if row.top_p < 1.0:
        ordered, index = probabilities.sort(descending=True)
        outside = ordered.cumsum(-1) - ordered >= row.top_p  # the token that crosses the mass is kept
        probabilities = probabilities.index_fill(0, index[outside], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=row.generator))
