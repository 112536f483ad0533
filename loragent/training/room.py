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
_CPU = Room(384, 1536, 64 << 20, 1 << 30, 96, 10_000_000, 8192)
_GPU = Room(1 << 14, 1 << 14, 0, 4 << 30, 2048, 256 << 20, 1 << 20)


def room(device: torch.device) -> Room:
    """Of a GPU: a quarter of what is free for activations, whose share of a layer is counted and the rest guessed."""
    if device.type != "cuda":
        return _CPU
    free, _ = torch.cuda.mem_get_info(device)
    return replace(_GPU, kept=free // 4)
