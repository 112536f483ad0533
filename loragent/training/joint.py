"""One pass over the shared base for several plugins: what is frozen is multiplied once for all of them.

Each plugin's adapters see its own rows alone, so its gradients are those of a pass of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from .loss import head_distillation
from .network import Network
from .pause import pause
from .precision import autocast
from .room import room
from .streamline import together

Part = tuple[Network, Sequence[int]]  # rows of one plugin


def passes(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Which parts of lean networks to compute together: with the same layers, of rows as wide, not too many."""

    tokens = room(parts[0][0].head.device).joint_tokens if parts else 0

    def kind(part: Part) -> tuple[int, int]:
        network, rows = part
        return len(network.layers), network.width(rows)

    for (_, width), alike in groupby(sorted(parts, key=kind), kind):
        found: list[Part] = []
        for part in alike:
            if found and width * (sum(len(rows) for _, rows in found) + len(part[1])) > tokens:
                yield found
                found = []
            found.append(part)
        yield found


def losses(parts: Sequence[Part]) -> list[Tensor]:
    """What :meth:`Network.losses` gives for each of the parts, which :func:`passes` found to go together."""
    if len(parts) == 1:
        return [parts[0][0].losses(parts[0][1])]
    first, rows = parts[0]
    width = first.width(rows)
    ends = torch.tensor([len(rows) * width for _, rows in parts]).cumsum(0).tolist()
    spans = tuple(slice(start, end) for start, end in zip([0, *ends], ends, strict=False))
    for network, _ in parts:
        network.begin(ends[-1], len(parts))
    with autocast(first.head):
        x = torch.cat([network.below(rows, width) for network, rows in parts])
        rotation = first.rotation(x)
        for layers in zip(*(network.layers for network, _ in parts), strict=True):
            pause(x)
            x = together(layers, x, rotation, spans)
        x = first.norm(x)
    each = torch.split(x, [len(rows) for _, rows in parts])
    found = [network.at_targets(hidden, rows) for (network, rows), hidden in zip(parts, each, strict=True)]
    hidden, ids, weights = (torch.cat(_as_wide(tensors)) for tensors in zip(*found, strict=True))
    all_losses = head_distillation(hidden, ids, weights, head=first.head)
    mine = torch.split(all_losses, [len(hidden) for hidden, _, _ in found])
    return [network.by_row(each, rows) for (network, rows), each in zip(parts, mine, strict=True)]


def _as_wide(tensors: Sequence[Tensor]) -> list[Tensor]:
    """[n, k] with various k, padded with zeros: tokens that count for nothing."""
    width = max(tensor.shape[1] for tensor in tensors)
    return [torch.nn.functional.pad(tensor, (0, width - tensor.shape[1])) for tensor in tensors]
