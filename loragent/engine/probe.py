"""Which bases the lean decoder is for, found out by trying: a wrong guess would answer wrongly and say nothing."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .decoder import Pass
from .lean import LeanDecoder
from .lora import Fan
from .product import Dense, Product, stacked

WEIGHTS = {f"self_attn.{name}_proj.weight" for name in "qkvo"}
WEIGHTS |= {f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
WEIGHTS |= {"input_layernorm.weight", "post_attention_layernorm.weight"}
BIASES = {f"self_attn.{name}_proj.bias" for name in "qkv"}
PROBE = 8  # tokens
TOLERANCE = 1e-3  # of what a layer adds, in float32


@torch.inference_mode()
def is_llama_like(decoder: Any) -> bool:
    """Whether a base has the lean form: its layers have Llama's parameters, and each does the same to a probe."""
    parts = {name: type(child).__name__ for name, child in decoder.named_children()}
    layers: Any = getattr(decoder, "layers", ())
    if set(parts) != {"embed_tokens", "layers", "norm", "rotary_emb"} or parts["embed_tokens"] != "Embedding":
        return False
    if any({name for name, _ in layer.named_parameters()} not in (WEIGHTS, WEIGHTS | BIASES) for layer in layers):
        return False
    try:
        return _same_ends(decoder) and all(_same_layer(decoder, layer) for layer in layers)
    except (AttributeError, KeyError, RuntimeError, TypeError):  # another way of calling a layer
        return False


def _same_ends(decoder: Any) -> bool:
    """Whether the first layer reads the bare embeddings, and the last norm is the usual one."""
    ids = torch.arange(2, device=decoder.embed_tokens.weight.device)[None]
    read: list[Tensor] = []
    hook = decoder.layers[0].register_forward_pre_hook(lambda _, args: read.append(args[0]))
    try:
        decoder(input_ids=ids, use_cache=False)
    finally:
        hook.remove()
    x = _probe(decoder)
    norm = copy.deepcopy(decoder.norm).float()
    usual = F.rms_norm(x, x.shape[1:], norm.weight, float(decoder.config.rms_norm_eps))
    return torch.equal(read[0], decoder.embed_tokens(ids)) and torch.allclose(norm(x), usual, rtol=1e-4, atol=1e-5)


def _same_layer(decoder: Any, layer: Any) -> bool:
    wide = copy.deepcopy(layer).float()  # in bfloat16 rounding would hide a difference, or look like one
    x = _probe(decoder)
    positions = torch.arange(PROBE, device=x.device)[None]
    own = wide(x[None], position_embeddings=decoder.rotary_emb(x, positions), attention_mask=None)
    own = own if isinstance(own, Tensor) else own[0]
    lean = LeanDecoder(decoder, "", partial(_dense, wide), [wide])
    added = lean.through({}, Pass(positions, positions), x) - x
    return bool((own[0] - x - added).norm() <= TOLERANCE * (own[0] - x).norm())


def _probe(decoder: Any) -> Tensor:
    """[tokens, d], float32."""
    width, device = decoder.embed_tokens.weight.shape[1], decoder.embed_tokens.weight.device
    return torch.linspace(0, 50 * PROBE, PROBE * width, device=device).sin().view(PROBE, width)


def _dense(layer: Any, fan: Fan) -> Product:
    return Dense(*stacked([layer.get_submodule(name.removeprefix("layers.0.")) for name in fan]))
