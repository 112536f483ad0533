"""Where the kernels of :mod:`loragent.engine.kernels` compute, and how they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_PARTS = 3  # of a fan: q, k and v
_TILE = 16384  # of a matrix that a program holds in registers
_OUT = 512  # columns that a program of a stack's second product makes
_KEYS = 64  # that a program of attention reads at a time
_LEAST = 16  # rows and columns of what a matrix unit multiplies


@lru_cache(maxsize=1)
def _kernels() -> Any:
    """None where there is no Triton."""
    try:
        from . import kernels
    except ImportError:
        return None
    return kernels


def fuses(x: Tensor) -> bool:
    """Whether there are kernels where a tensor lies."""
    return x.is_cuda and _kernels() is not None


def attends(x: Tensor, head_dim: int) -> bool:
    """Whether :func:`attend` can be asked, too: heads of 16, 32, 64 ... features."""
    return fuses(x) and head_dim >= _LEAST and head_dim & (head_dim - 1) == 0


def add_stacks(outputs: Sequence[Tensor], x: Tensor, a: Tensor, b: Sequence[Tensor]) -> None:
    """Add what each row's own matrices give.

    Args:
        outputs: of up to three layers, parts of one tensor: [rows, out], changed in place.
        x: [rows, in].
        a: [rows, R, in], of the first layer first.
        b: [rows, columns, out] of each layer.
    """
    rows, _, inner = a.shape
    spare = _PARTS - len(b)
    ranks, widths = ([m.shape[i] for m in b] + [0] * spare for i in (1, 2))
    b, outputs = [*b, *[b[0]] * spare], [*outputs, *[outputs[0]] * spare]
    block_r = _power(max(ranks))
    block_in = min(_power(inner), max(_TILE // block_r, 64))
    blocks = sum(-(-width // _OUT) for width in widths)
    _kernels().add_stacks[(rows, blocks)](
        x, a, *b, *outputs, x.stride(0), a.stride(0), outputs[0].stride(0),
        inner, *ranks, *widths, block_r, block_in, _OUT,
    )  # fmt: skip


def attend(
    qkv: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, k: Tensor, v: Tensor, heads: int, scale: float
) -> Tensor:
    """Rotate, store and attend for rows of one token -> [rows, heads * head_dim].

    Args:
        qkv: [rows, (heads + 2 kv heads) * head_dim].
        cos, sin: [rows, ..., head_dim]; the first half of sin is negated.
        positions: of the tokens, [rows, 1].
        k, v: the rows' slots, [rows, kv heads, tokens, head_dim], written at ``positions``.
    """
    rows, kv, _, head_dim = k.shape
    y = qkv.new_empty(rows, heads * head_dim)
    _kernels().attend[(rows, kv)](
        qkv, cos, sin, positions, k, v, y, scale, k.stride(0), k.stride(1),
        heads, heads // kv, max(_power(heads // kv), _LEAST), head_dim, _KEYS,
    )  # fmt: skip
    return y


def gated(wide: Tensor) -> Tensor:
    """silu(gate) * up of the two halves. wide: [n, 2 * width] -> [n, width]."""
    n, both = wide.shape
    width, block = both // 2, 1024
    y = wide.new_empty(n, width)
    _kernels().gated[(n, -(-width // block))](wide, y, width, block)
    return y


def normalised(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm over the last dimension. x: [n, d], weight: [d]."""
    y = torch.empty_like(x)
    width = x.shape[1]
    _kernels().normalised[(len(x),)](x, weight, y, epsilon, width, _power(width))
    return y


def _power(n: int) -> int:
    """The least power of two that is not less."""
    return 1 << (n - 1).bit_length()
