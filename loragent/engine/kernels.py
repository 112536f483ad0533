"""Steps of one token a row on a CUDA device, in few kernels (Triton): there a kernel costs more than what it computes.

Triton comes with torch's builds for CUDA; nothing else imports this module.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_stacks(
    x, a, b0, b1, b2, y0, y1, y2, x_row, a_row, y_row,
    INNER: tl.constexpr, R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
    N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_IN: tl.constexpr, BLOCK_OUT: tl.constexpr,
):  # fmt: skip
    """What each row's own matrices add to up to three layers: y_i += (x_i A_i^T) B_i, one block of columns a program.

    x: [rows, in]; a: [rows, R, in]; b: [rows, columns, out] each; y: [rows, out] each. A's rows are read once for each
    block, out of the cache: cheaper than a kernel of their own.
    """
    row, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x, a = x + row * x_row, a + row * a_row
    first: tl.constexpr = (N0 + BLOCK_OUT - 1) // BLOCK_OUT
    second: tl.constexpr = first + (N1 + BLOCK_OUT - 1) // BLOCK_OUT
    if block < first:
        _add_part(x, a, b0 + row * R0 * N0, y0 + row * y_row, block, INNER, R0, N0, BLOCK_R, BLOCK_IN, BLOCK_OUT)
    elif block < second:
        a = a + R0 * INNER
        block = block - first
        _add_part(x, a, b1 + row * R1 * N1, y1 + row * y_row, block, INNER, R1, N1, BLOCK_R, BLOCK_IN, BLOCK_OUT)
    else:
        a = a + (R0 + R1) * INNER
        block = block - second
        _add_part(x, a, b2 + row * R2 * N2, y2 + row * y_row, block, INNER, R2, N2, BLOCK_R, BLOCK_IN, BLOCK_OUT)


@triton.jit
def _add_part(
    x, a, b, y, block,
    INNER: tl.constexpr, R: tl.constexpr, N: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_IN: tl.constexpr, BLOCK_OUT: tl.constexpr,
):  # fmt: skip
    if R > 0:
        ranks, out = tl.arange(0, BLOCK_R), block * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
        # What is needed last is asked for first: it arrives while the rest is computed.
        before = tl.load(y + out, mask=out < N, other=0.0).to(tl.float32)
        used = (ranks < R)[:, None] & (out < N)[None, :]
        back = tl.load(b + ranks[:, None] * N + out[None, :], mask=used, other=0.0).to(tl.float32)
        inner = tl.zeros([BLOCK_R], tl.float32)
        for start in range(0, INNER, BLOCK_IN):
            at = start + tl.arange(0, BLOCK_IN)
            there = (ranks < R)[:, None] & (at < INNER)[None, :]
            weights = tl.load(a + ranks[:, None] * INNER + at[None, :], mask=there, other=0.0).to(tl.float32)
            read = tl.load(x + at, mask=at < INNER, other=0.0).to(tl.float32)
            inner += tl.sum(weights * read[None, :], axis=1)
        after = before + tl.sum(inner[:, None] * back, axis=0)
        tl.store(y + out, after.to(y.dtype.element_ty), mask=out < N)


@triton.jit
def attend(
    qkv, cos, sin, positions, keys, values, y, scale, slot, head,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDE: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rotate a row's new queries and key, write key and value into its slot, and attend to all of it.

    One program a row and head of keys; qkv: [rows, (heads + 2 kv heads) * DIM]; cos, sin: [rows, DIM], the first half
    of sin negated; keys, values: [slots, kv heads, tokens, DIM]; y: [rows, heads * DIM]. WIDE: GROUP queries share a
    key, made up to what a matrix unit takes. The softmax is taken block by block (Milakov and Gimelshein 2018).
    """
    row, kv, kvs = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    at, other = tl.arange(0, DIM), (tl.arange(0, DIM) + DIM // 2) % DIM
    turn, across = tl.load(cos + row * DIM + at), tl.load(sin + row * DIM + at)
    turn, across = turn.to(tl.float32), across.to(tl.float32)
    token = qkv + row * (HEADS + 2 * kvs) * DIM
    kind = qkv.dtype.element_ty

    own = token + (HEADS + kv) * DIM
    k = tl.load(own + at).to(tl.float32) * turn + tl.load(own + other).to(tl.float32) * across
    k = k.to(kind)
    v = tl.load(token + (HEADS + kvs + kv) * DIM + at)
    position = tl.load(positions + row)
    keys, values = keys + row * slot + kv * head, values + row * slot + kv * head
    tl.store(keys + position * DIM + at, k)
    tl.store(values + position * DIM + at, v)

    queries = tl.arange(0, WIDE)
    mine = token + (kv * GROUP + queries)[:, None] * DIM
    real = (queries < GROUP)[:, None]
    q = tl.load(mine + at[None, :], mask=real, other=0.0).to(tl.float32) * turn[None, :]
    q += tl.load(mine + other[None, :], mask=real, other=0.0).to(tl.float32) * across[None, :]
    q = q.to(kind)

    # The new token first, out of registers: nobody has to wait until it is written.
    top = tl.sum(q.to(tl.float32) * k.to(tl.float32)[None, :], axis=1) * scale
    mass = tl.full([WIDE], 1.0, tl.float32)
    mixed = tl.zeros([WIDE, DIM], tl.float32) + v.to(tl.float32)[None, :]
    for start in range(0, position, BLOCK):
        seen = start + tl.arange(0, BLOCK)
        there = seen < position
        old = tl.load(keys + seen[:, None] * DIM + at[None, :], mask=there[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(old), input_precision="ieee") * scale
        scores = tl.where(there[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        fading = tl.exp(top - higher)
        weights = tl.exp(scores - higher[:, None])
        old = tl.load(values + seen[:, None] * DIM + at[None, :], mask=there[:, None], other=0.0)
        mixed = mixed * fading[:, None] + tl.dot(weights.to(kind), old, input_precision="ieee")
        mass = mass * fading + tl.sum(weights, axis=1)
        top = higher
    mixed = mixed / mass[:, None]
    target = y + (row * HEADS + kv * GROUP + queries)[:, None] * DIM + at[None, :]
    tl.store(target, mixed.to(kind), mask=real)


@triton.jit
def gated(wide, y, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """silu(gate) * up. wide: [rows, 2 * WIDTH], gate beside up; y: [rows, WIDTH]."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < WIDTH
    gate = tl.load(wide + row * 2 * WIDTH + at, mask=there, other=0.0).to(tl.float32)
    up = tl.load(wide + row * 2 * WIDTH + WIDTH + at, mask=there, other=0.0).to(tl.float32)
    tl.store(y + row * WIDTH + at, (gate / (1.0 + tl.exp(-gate)) * up).to(y.dtype.element_ty), mask=there)


@triton.jit
def normalised(x, weight, y, epsilon, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """RMSNorm (Zhang and Sennrich 2019). x, y: [rows, WIDTH]; weight: [WIDTH]."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < WIDTH
    read = tl.load(x + row * WIDTH + at, mask=there, other=0.0).to(tl.float32)
    scaled = read * tl.rsqrt(tl.sum(read * read, axis=0) / WIDTH + epsilon)
    scaled = scaled * tl.load(weight + at, mask=there, other=0.0).to(tl.float32)
    tl.store(y + row * WIDTH + at, scaled.to(y.dtype.element_ty), mask=there)
