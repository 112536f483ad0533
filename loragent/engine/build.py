"""Which decoder a base gets, and in what its products are computed."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..model import LoadedModel, twin_of
from .decoder import Decoder, StockDecoder
from .lean import LeanDecoder
from .lora import Fan
from .probe import is_llama_like
from .product import Dense, Int8, Product


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
    return Int8(head.weight, head.bias, twice=True) if loaded.int8 else Dense(head.weight, head.bias)


def _product(loaded: LoadedModel, fan: Fan) -> Product:
    if not loaded.int8:
        return _dense(loaded, fan)
    return Int8(*_stacked(loaded, fan), twice=_has_outliers(fan))


def _dense(loaded: LoadedModel, fan: Fan) -> Dense:
    if fan in loaded.joined:
        return Dense(*loaded.joined[fan])
    return Dense(*_stacked(loaded, fan))


def _stacked(loaded: LoadedModel, fan: Fan) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a fan's layers, one above the other."""
    layers = [loaded.model.get_submodule(name) for name in fan]
    if len(layers) == 1:
        return layers[0].weight, layers[0].bias
    biased = all(layer.bias is not None for layer in layers)
    return torch.cat([m.weight for m in layers]), torch.cat([m.bias for m in layers]) if biased else None


def _has_outliers(fan: Fan) -> bool:
    """Inputs that one scale a token serves badly: of down, and of q, k and v (docs/adr/0009 has the perplexities)."""
    return fan[-1].endswith(("down_proj", "v_proj"))
