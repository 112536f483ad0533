"""Which decoder a base gets, and in what its products are computed."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..model import LoadedModel, twin_of
from .choice import onednn_is_faster
from .decoder import Decoder, StockDecoder
from .int8 import Int8
from .lean import LeanDecoder
from .lora import Fan
from .probe import is_llama_like
from .product import Dense, Product, stacked


def build_decoder(loaded: LoadedModel) -> Decoder:
    """The lean form where the base has Llama's shape, else transformers' own."""
    decoder, names = loaded.model.get_decoder(), list(loaded.linear_shapes())
    prefix = names[0].partition("layers.")[0] if names else ""
    product = partial(_product, loaded)
    if is_llama_like(decoder):
        return LeanDecoder(decoder, prefix, product)
    return StockDecoder(twin_of(loaded.model), names, product)


def build_head(loaded: LoadedModel) -> Product:
    """From hidden states to logits."""
    head = loaded.model.get_output_embeddings()
    return Int8(head.weight, head.bias, twice=True) if loaded.int8 else _dense(head.weight, head.bias)


def _product(loaded: LoadedModel, fan: Fan) -> Product:
    if fan in loaded.joined:
        return _dense(*loaded.joined[fan])
    weight, bias = stacked([loaded.model.get_submodule(name) for name in fan])
    return Int8(weight, bias, twice=_has_outliers(fan)) if loaded.int8 else _dense(weight, bias)


def _dense(weight: Tensor, bias: Tensor | None) -> Dense:
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
    return Dense(weight, bias, onednn=on_cpu and onednn_is_faster())


def _has_outliers(fan: Fan) -> bool:
    """Inputs that one scale a token serves badly: of down, and of q, k and v (docs/adr/0009 has the perplexities)."""
    return fan[-1].endswith(("down_proj", "v_proj"))
