"""The decoder of bases of Llama's shape (Touvron et al. 2023), in few operations.

On a CPU most of a step of a small base goes not into products but into what lies around them: thirty layers of
transformers' modules are some two thousand calls. Here a layer is two dozen: q, k and v are one product, gate and up
another; rows and tokens share one axis, so that a residual is added by the product that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import gpu
from .cache import CacheView
from .decoder import Pass
from .lora import Fan, Plan
from .product import Product

MakeProduct = Callable[[Fan], Product]  # of the layers of a fan, one above the other


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's products and norms."""

    index: int
    qkv: Product
    o: Product
    wide: Product  # gate above up
    down: Product
    norm_in: Tensor
    norm_mid: Tensor
    fans: tuple[Fan, Fan, Fan, Fan]  # of qkv, o, wide and down


class _Shared(NamedTuple):
    """What all layers of one pass share.

    Attributes:
        cos, sin: [n, 1, head_dim]; the first half of sin is negated.
        mask: [rows, 1, group * q, k] of 0 and -inf, or None for causal; for rows of one token in float32
            on a CPU [rows * kv heads, group, k].
        positions: [rows, 1], where one kernel rotates, stores and attends; then there is no mask.
    """

    plan: Plan
    rows: int
    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    cache: CacheView | None
    positions: Tensor | None


class LeanDecoder:
    """See :class:`loragent.engine.decoder.Decoder`.

    Args:
        decoder: transformers' module.
        prefix: its path in the model, which the names of plugins' layers begin with.
        product: makes the product of a fan.
        layers: instead of the decoder's own.
    """

    def __init__(self, decoder: Any, prefix: str, product: MakeProduct, layers: Iterable[Any] | None = None) -> None:
        config = decoder.config
        self._embed, self._rotary, self._norm = decoder.embed_tokens.weight, decoder.rotary_emb, decoder.norm.weight
        self._epsilon = float(config.rms_norm_eps)
        self._dtype = decoder.norm.weight.dtype
        self._head_dim = int(decoder.layers[0].self_attn.head_dim)
        self._kv, self._heads = int(config.num_key_value_heads), int(config.num_attention_heads)
        self._group = self._heads // self._kv
        self._scale = float(decoder.layers[0].self_attn.scaling)
        self._layers = [
            _layer(i, layer, f"{prefix}layers.{i}.", product)
            for i, layer in enumerate(decoder.layers if layers is None else layers)
        ]
        self.fans: Sequence[Fan] = [fan for layer in self._layers for fan in layer.fans]
        self._levels = {name: layer.index for layer in self._layers for fan in layer.fans for name in fan}

    def level(self, name: str) -> int:
        """See :class:`loragent.engine.decoder.Decoder`."""
        return self._levels[name]

    def __call__(self, plan: Plan, step: Pass) -> Tensor:
        """See :class:`loragent.engine.decoder.Decoder`."""
        known = step.hidden if step.hidden is not None else F.embedding(step.ids, self._embed)
        x = self.through(plan, step, known.reshape(step.ids.numel(), -1).to(self._dtype))
        return self._normalised(x, self._norm).view(*step.ids.shape, -1)

    def through(self, plan: Plan, step: Pass, x: Tensor) -> Tensor:
        """The layers. x: [rows * q, d] -> the same shape."""
        rows = len(step.ids)
        cos, sin = (t.to(x.dtype).view(len(x), 1, -1) for t in self._rotary(x, step.positions))
        half = self._head_dim // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
        single = step.ids.shape[1] == 1 and step.cache is not None and step.cache.adjacent
        positions = step.positions if single and gpu.attends(x, self._head_dim) else None
        mask = step.mask if positions is None else None
        if mask is not None:
            mask = torch.zeros(mask.shape, dtype=x.dtype, device=x.device).masked_fill_(~mask, -torch.inf)
            mask = mask.repeat(1, 1, self._group, 1)
            if step.ids.shape[1] == 1 and x.device.type == "cpu" and x.dtype == torch.float32:
                mask = mask.expand(-1, self._kv, -1, -1).flatten(0, 1)
        shared = _Shared(plan, rows, cos, sin, mask, step.cache, positions)
        x = x.clone()  # layers add to it in place
        for layer in self._layers[step.level :]:
            if layer.index in step.taps:
                step.taps[layer.index] = x.clone().view(rows, -1, x.shape[1])
            x = self._attend(layer, x, shared)
            x = self._feed(layer, x, plan)
        return x

    def _attend(self, layer: _Layer, x: Tensor, shared: _Shared) -> Tensor:
        """x: [n, d] -> x + attention."""
        of_qkv, of_o, _, _ = layer.fans
        head_dim = self._head_dim
        normed = self._normalised(x, layer.norm_in)
        qkv = layer.qkv(normed)
        if (update := shared.plan.get(of_qkv)) is not None:
            widths = [self._heads * head_dim, self._kv * head_dim, self._kv * head_dim]
            update.add_to(torch.split(qkv, widths, 1), normed)
        turn = self._turn_and_mix if shared.positions is None else self._at_once
        mixed = turn(qkv, layer.index, shared)
        y = layer.o.add(mixed, x)
        if (update := shared.plan.get(of_o)) is not None:
            update.add_to([y], mixed)
        return y

    def _at_once(self, qkv: Tensor, index: int, shared: _Shared) -> Tensor:
        """What :meth:`_turn_and_mix` does, for rows of one token in one kernel."""
        assert shared.cache is not None
        assert shared.positions is not None
        like = qkv[:, : self._kv * self._head_dim].view(shared.rows, self._kv, 1, self._head_dim)
        k, v = shared.cache.slots(like, index)
        return gpu.attend(qkv, shared.cos, shared.sin, shared.positions, k, v, self._heads, self._scale)

    def _turn_and_mix(self, qkv: Tensor, index: int, shared: _Shared) -> Tensor:
        """Queries and keys are rotated (Su et al. 2021), then attend. qkv: [n, ...] -> [n, heads * head_dim]."""
        rotated = self._heads + self._kv
        qkv = qkv.view(len(qkv), -1, self._head_dim)
        turned = qkv[:, :rotated]
        turned = torch.addcmul(turned * shared.cos, turned.roll(self._head_dim // 2, -1), shared.sin)
        return self._mix(turned[:, : self._heads], turned[:, self._heads :], qkv[:, rotated:], index, shared)

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, index: int, shared: _Shared) -> Tensor:
        """q: [n, heads, head_dim]; k, v: [n, kv heads, head_dim] -> [n, heads * head_dim].

        The queries that share keys stand side by side as if they were more tokens: no key is repeated.
        """
        n, rows, kv, group, head_dim = len(q), shared.rows, self._kv, self._group, self._head_dim
        k, v = (t.view(rows, n // rows, kv, head_dim).transpose(1, 2) for t in (k, v))
        if shared.cache is not None:
            k, v = shared.cache.update(k, v, index)
        if shared.mask is None:
            q = q.view(rows, -1, kv * group, head_dim).transpose(1, 2)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self._scale, enable_gqa=group > 1)
            return y.transpose(1, 2).reshape(n, -1)
        if shared.mask.ndim == 3:
            # Three products are faster here than torch's fused kernel, which is made for long queries.
            q = q.reshape(rows * kv, group, head_dim)
            weights = torch.baddbmm(shared.mask, q, k.flatten(0, 1).transpose(1, 2), alpha=self._scale)
            return torch.bmm(torch.softmax(weights, -1), v.flatten(0, 1)).view(n, -1)
        q = q.view(rows, -1, kv, group, head_dim).permute(0, 2, 3, 1, 4).reshape(rows, kv, -1, head_dim)
        y = F.scaled_dot_product_attention(q, k, v, shared.mask, scale=self._scale)
        return y.view(rows, kv, group, -1, head_dim).permute(0, 3, 1, 2, 4).reshape(n, -1)

    def _normalised(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm. x: [n, d]."""
        if gpu.fuses(x):
            return gpu.normalised(x, weight, self._epsilon)
        return F.rms_norm(x, x.shape[1:], weight, self._epsilon)

    def _feed(self, layer: _Layer, x: Tensor, plan: Plan) -> Tensor:
        """x: [n, d] -> x + mlp."""
        _, _, of_wide, of_down = layer.fans
        normed = self._normalised(x, layer.norm_mid)
        wide = layer.wide(normed)
        gate, up = wide.chunk(2, 1)
        if (update := plan.get(of_wide)) is not None:
            update.add_to([gate, up], normed)
        inner = gpu.gated(wide) if gpu.fuses(wide) else F.silu(gate).mul_(up)
        y = layer.down.add(inner, x)
        if (update := plan.get(of_down)) is not None:
            update.add_to([y], inner)
        return y


def _layer(index: int, layer: Any, path: str, product: MakeProduct) -> _Layer:
    fans = (
        tuple(f"{path}self_attn.{name}_proj" for name in "qkv"),
        (f"{path}self_attn.o_proj",),
        tuple(f"{path}mlp.{name}_proj" for name in ("gate", "up")),
        (f"{path}mlp.down_proj",),
    )
    norm_in, norm_mid = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
    qkv, o, wide, down = (product(fan) for fan in fans)
    return _Layer(index, qkv, o, wide, down, norm_in, norm_mid, fans)
