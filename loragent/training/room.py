"""How much a device spares for a training run, and how much it wants to do at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, slots=True)
class Room:
    """Bounds of memory, which change no result.

    Attributes:
        micro_tokens: padded tokens of a forward pass.
        joint_tokens: and of one for several plugins.
        kept: bytes of activations that are kept for the backward pass.
        trunk: bytes of hidden states below the trained layers.
        positions: whose logits are computed at a time.
        logits: bytes of them.
        vocabulary: tokens that the output head is multiplied with at a time.
    """

    micro_tokens: int
    joint_tokens: int
    kept: int
    trunk: int
    positions: int
    logits: int
    vocabulary: int


# More positions save no time on a CPU and pad more; and oneDNN packs a copy of the matrix that it multiplies with.
_CPU = Room(
    micro_tokens=384, joint_tokens=1536, kept=64 << 20, trunk=1 << 30, positions=96, logits=10_000_000, vocabulary=8192
)
_GPU = Room(
    micro_tokens=1 << 14, joint_tokens=1 << 14, kept=0, trunk=4 << 30, positions=2048, logits=256 << 20,
    vocabulary=1 << 20,
)  # fmt: skip


def room(device: torch.device) -> Room:
    """Of a GPU: a quarter of what is free for activations, whose share of a layer is counted and the rest guessed."""
    if device.type != "cuda":
        return _CPU
    free, _ = torch.cuda.mem_get_info(device)
    return replace(_GPU, kept=free // 4)
