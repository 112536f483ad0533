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


COLDEST = 1e-3  # below it a temperature is as good as none, and its quotients overflow


def sample(logits: Tensor, rows: Sequence[Sampling], banned: Sequence[Sequence[int]]) -> list[int | None]:
    """Pick one token a row; None for a row whose logits are not finite.

    Args:
        logits: [rows, vocabulary]; changed in place.
        banned: token ids that a row may not take now.
    """
    if bans := [(i, token) for i, ids in enumerate(banned) for token in ids]:
        logits[tuple(torch.tensor(bans).to(logits.device).T)] = -torch.inf
    best, greedy = logits.max(-1)  # not a number if any is
    taken = greedy.masked_fill_(~best.isfinite(), -1).tolist()  # one answer of the device, not two
    for i, settings in enumerate(rows):
        if taken[i] >= 0 and settings.temperature >= COLDEST:
            taken[i] = _draw(logits[i], settings)
    return [token if token >= 0 else None for token in taken]


def sample_among(logits: Tensor, settings: Sampling, allowed: Tensor) -> int | None:
    """Pick one of the tokens that a mask allows; None if all of them are banned.

    A row that draws has drawn without the mask before; to draw again where that was refused gives each token the
    probability that it has among the allowed ones. (With ``top_p`` below 1 those of the nucleus keep theirs, and the
    share of the refused goes to the nucleus of the allowed.)

    Args:
        logits: [vocabulary], as :func:`sample` left them; changed in place.
        allowed: [vocabulary], bool.
    """
    logits.masked_fill_(~allowed.to(logits.device), -torch.inf)
    return sample(logits[None], [settings], [()])[0]


def log_probability(logits: Tensor, token: int, allowed: Tensor | None) -> float:
    """Of a token among those that a mask allows, at temperature 1, in nats.

    Args:
        logits: [vocabulary], as :func:`sample` left them.
        allowed: [vocabulary], bool; None allows all.
    """
    scores = logits if allowed is None else logits.masked_fill(~allowed.to(logits.device), -torch.inf)
    return float(scores.float().log_softmax(-1)[token])


def _draw(logits: Tensor, row: Sampling) -> int:
    """Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751); logits: [vocabulary]."""
    # On the CPU in fp32 a seed means the same draw on every device.
    probabilities = torch.softmax(logits.float().cpu() / row.temperature, -1)
    if row.top_p < 1.0:
        ordered, index = probabilities.sort(descending=True)
        outside = ordered.cumsum(-1) - ordered >= row.top_p  # the token that crosses the mass is kept
        probabilities = probabilities.index_fill(0, index[outside], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=row.generator))
