"""Causal self-attention with adapters, from the layer's input to its output, as one autograd function.

Plain products in blocks take half the time of torch's fused CPU kernel at the lengths of dialogues.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .fused import Adapted, Fan, Norm, rows_of

BLOCK = 256  # queries at a time


class SelfAttention(torch.autograd.Function):
    """``o(softmax(R q(n) (R k(n))^T * scale + causal) v(n))``, n being the norm of x and R the rotation of positions
    (Su et al. 2021).

    Keeps x, the rotated queries and keys, the values and what was mixed of them; the weights are computed again.
    Padding must lie behind a row's tokens, where causality keeps it out.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: Norm,
        rotation: tuple[Tensor, Tensor],
        scale: float,
        adapted: Adapted,
        *tensors: Tensor | None,
    ) -> Tensor:
        """x: [rows, tokens, d] -> the same shape; rotation: cosines and sines, [1 or rows, tokens, width].

        tensors: those of q, k, v and o, in that order.
        """
        *reading, out = adapted.projections(tensors)
        normed, rms = norm.forward(rows_of(x))
        inner, (q, k, v) = Fan(reading, x.dtype, adapted.spans).forward(normed)
        cos, sin = (_half(table, x.dtype) for table in rotation)
        # The scale goes into the queries, which are smaller than the scores.
        query = _rotated(_split(q, x, cos), cos * scale, sin * scale)
        key, value = _rotated(_split(k, x, cos), cos, sin), _heads_first(_split(v, x, cos))
        mixed = _joined(_mix(query, key, value))
        narrow, (y,) = Fan([out], x.dtype, adapted.spans).forward(mixed)
        ctx.save_for_backward(x, rms, cos, sin, query, key, value, mixed, *inner, *narrow, *tensors)
        ctx.norm, ctx.scale, ctx.adapted = norm, scale, adapted
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        adapted: Adapted = ctx.adapted
        x, rms, cos, sin, query, key, value, mixed, *others = ctx.saved_tensors
        inner, narrow, tensors = adapted.unpack(others)
        *reading, out = adapted.projections(tensors)
        grad, of_out = Fan([out], x.dtype, adapted.spans).backward(mixed, narrow, [rows_of(grads[0]).to(x.dtype)])
        q, k, v = _unmix(query, key, value, _heads_first(_split(grad, x, cos)))
        backward_q = _joined(_rotated(q.transpose(1, 2), cos * ctx.scale, -sin * ctx.scale))
        backward_k = _joined(_rotated(k.transpose(1, 2), cos, -sin))
        normed = ctx.norm.again(rows_of(x), rms)
        of_each = [backward_q, backward_k, _joined(v)]
        grad, of_reading = Fan(reading, x.dtype, adapted.spans).backward(normed, inner, of_each)
        grad_x = ctx.norm.backward(rows_of(x), rms, grad)
        return grad_x.view(x.shape), None, None, None, None, *of_reading, *of_out


def _mix(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """query: [rows, heads, tokens, width]; key, value: [rows, kv_heads, tokens, width] -> like query."""
    mixed = torch.empty_like(query)
    for block, mine, keys, values in _blocks(query, key, value):
        mixed[:, :, block] = (_weights(mine, keys, block) @ values).view(mixed[:, :, block].shape)
    return mixed


def _unmix(query: Tensor, key: Tensor, value: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value from that of :func:`_mix`."""
    grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    for block, mine, keys, values in _blocks(query, key, value):
        towards = _grouped(grad[:, :, block], key)
        weights = _weights(mine, keys, block)
        grad_value[:, :, : block.stop] += weights.transpose(-1, -2) @ towards
        along = towards @ values.transpose(-1, -2)
        scores = torch.ops.aten._softmax_backward_data(along, weights, -1, weights.dtype)
        grad_key[:, :, : block.stop] += scores.transpose(-1, -2) @ mine
        grad_query[:, :, block] = (scores @ keys).view(grad_query[:, :, block].shape)
    return grad_query, grad_key, grad_value


def _blocks(query: Tensor, key: Tensor, value: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Blocks of queries with the keys and values up to their end: most of the upper half is never computed.

    Query heads that share a key head are one long block, [rows, kv_heads, heads / kv_heads * queries, width], so
    that keys are never repeated.
    """
    tokens = query.shape[2]
    for at in range(0, tokens, BLOCK):
        block = slice(at, min(at + BLOCK, tokens))
        yield block, _grouped(query[:, :, block], key), key[:, :, : block.stop], value[:, :, : block.stop]


def _grouped(query: Tensor, key: Tensor) -> Tensor:
    return query.reshape(query.shape[0], key.shape[1], -1, query.shape[-1])


def _weights(grouped: Tensor, keys: Tensor, block: slice) -> Tensor:
    """Causal attention weights of a block, [rows, kv_heads, heads / kv_heads * queries, keys]."""
    scores = grouped @ keys.transpose(-1, -2)
    count = block.stop - block.start
    diagonal = scores.view(*scores.shape[:2], -1, count, scores.shape[-1])[..., block.start :]
    diagonal += _future(count, scores.dtype, scores.device)
    return torch.softmax(scores, -1)


@lru_cache(maxsize=16)
def _future(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((count, count), -torch.inf, dtype=dtype, device=device).triu_(1)


def _half(table: Tensor, dtype: torch.dtype) -> Tensor:
    """[., tokens, width], whose halves are the same -> [., tokens, 1, width / 2]."""
    return table[..., : table.shape[-1] // 2].unsqueeze(2).to(dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: [rows, tokens, heads, width] -> heads first, each pair of dimensions (i, i + width / 2) rotated."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    y = x.new_empty(x.shape[0], x.shape[2], x.shape[1], x.shape[3])
    by_token = y.transpose(1, 2)
    by_token[..., :half] = (a * cos).addcmul_(b, sin, value=-1)
    by_token[..., half:] = (b * cos).addcmul_(a, sin)
    return y


def _split(flat: Tensor, x: Tensor, cos: Tensor) -> Tensor:
    """[n, heads * width] -> [rows, tokens, heads, width]."""
    return flat.view(x.shape[0], x.shape[1], -1, 2 * cos.shape[-1])


def _heads_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous()


def _joined(x: Tensor) -> Tensor:
    """[rows, heads, tokens, width] -> [n, heads * width]."""
    return x.transpose(1, 2).reshape(x.shape[0] * x.shape[2], -1)
