"""Which precision the trained layers compute in.

On a CPU that multiplies bfloat16 natively, matrix products take a quarter of the time of float32. Activations are
bfloat16 then; weights stay shared with the base and are cast when they are used, but for the output head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def lower(twin: Any, layers: int) -> Tensor:
    """Set the twin's trained layers to the working precision; returns the output head in it, [v, d]."""
    decoder, head = twin.get_decoder(), twin.get_output_embeddings().weight.detach()
    if head.device.type != "cpu" or head.dtype != torch.float32 or not fast_bfloat16():
        return head  # type: ignore[no-any-return]
    trained = decoder.layers[len(decoder.layers) - layers :] if layers else decoder.layers
    for module in (*trained.modules(), decoder.norm):
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad and parameter.ndim == 1:  # norms and biases: a few kilobytes
                setattr(module, name, nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False))
    return head.to(torch.bfloat16)  # type: ignore[no-any-return]


def autocast(head: Tensor) -> torch.autocast:
    """The context of a forward pass: adapters and trunk are float32 and multiply in the head's precision."""
    return torch.autocast(head.device.type, dtype=torch.bfloat16, enabled=head.dtype == torch.bfloat16)


def fast_bfloat16() -> bool:
    """True on CPUs with AVX512-BF16 or AMX."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
