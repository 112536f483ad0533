"""Which layers of a trained twin get a lean form, found out by trying: it is used where it gives the same."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import SelfAttention
from .fused import EVERYONE, Adapted, GatedMlp, LoraLinear, Norm, Spans

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
PROBE = 8  # tokens
TOLERANCE = 0.03  # by which two forms may differ in bfloat16; other activations differ by a tenth and more


def streamline(decoder: Any, trained: Any, compute: torch.dtype) -> bool:
    """Give the layers of a twin their lean forward pass, in place; PEFT still owns the adapters' parameters.

    Layers with dropout or with another variant than plain LoRA keep PEFT's own; layers of another kind than
    ``x + attention(norm(x))``, ``x + mlp(norm(x))`` keep their forward, and their linear layers alone are lean.

    Args:
        decoder: the twin's, with adapters.
        trained: its layers that have adapters.
        compute: dtype of the activations in them.

    Returns:
        True if all of every trained layer is lean, so that what it keeps can be told from its shape.
    """
    linear = [module for module in trained.modules() if isinstance(module, Linear)]
    for module in filter(_is_plain, linear):
        _replace(module, _linear)
        module._loragent_compute = compute
    if not all(map(_is_plain, linear)):
        return False
    rotation = _rotation(decoder, compute)
    lean = [_is_usual(layer) and _try(layer, rotation) for layer in trained]
    return all(lean)


def _is_usual(layer: Any) -> bool:
    attention, mlp = getattr(layer, "self_attn", None), getattr(layer, "mlp", None)
    norms = [getattr(layer, name, None) for name in ("input_layernorm", "post_attention_layernorm")]
    return (
        _adapted(attention, ATTENTION)
        and _adapted(mlp, MLP)
        and all(hasattr(norm, "variance_epsilon") for norm in norms)
        and not getattr(attention, "sliding_window", None)
        and not getattr(attention, "attention_dropout", 0.0)
    )


@torch.no_grad()
def _rotation(decoder: Any, compute: torch.dtype) -> dict[str, Any]:
    """What the decoder hands to the attention of its layers, for a probe."""
    device = next(decoder.parameters()).device
    x = torch.zeros(1, PROBE, decoder.config.hidden_size, device=device, dtype=compute)
    rotary = getattr(decoder, "rotary_emb", None)
    tables = rotary(x, torch.arange(PROBE, device=device)[None]) if isinstance(rotary, nn.Module) else None
    return {"position_embeddings": tables, "attention_mask": None}


@torch.no_grad()
def _try(layer: Any, rotation: dict[str, Any]) -> bool:
    """Use the lean form if its halves, and the whole, agree with the layer's own on a probe."""
    like = layer.self_attn.q_proj.base_layer.weight
    width, tables = like.shape[-1], rotation["position_embeddings"]
    probe = torch.linspace(-2, 2, PROBE * width, device=like.device).view(1, PROBE, width).to(like.dtype)
    with torch.autocast(like.device.type, enabled=False):
        try:
            pairs = [
                (
                    layer.self_attn(layer.input_layernorm(probe), **rotation)[0],
                    _attend([layer], probe, tables, EVERYONE),
                ),
                (layer.mlp(layer.post_attention_layernorm(probe)), _feed([layer], probe, EVERYONE)),
                (_first(layer(probe, **rotation)), _layer(layer, probe, tables)),
            ]
        except (RuntimeError, TypeError):  # another shape of values than of queries, say, or no rotation
            return False
    if any((own - lean).float().norm() > TOLERANCE * own.float().norm() for own, lean in pairs):
        return False
    _replace(layer, _layer)
    return True


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _replace(module: Any, form: Callable[..., Any]) -> None:
    module.forward = types.MethodType(form, module)


def _adapted(module: Any, names: Sequence[str]) -> bool:
    return all(isinstance(getattr(module, name, None), Linear) for name in names)


def _is_plain(module: Any) -> bool:
    (name,) = module.active_adapters
    return not module.use_dora[name] and isinstance(module.lora_dropout[name], nn.Identity)


def _tensors(module: Any) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    (name,) = module.active_adapters
    base = module.base_layer
    return base.weight, base.bias, module.lora_A[name].weight, module.lora_B[name].weight


def _scaling(module: Any) -> float:
    return float(module.scaling[module.active_adapters[0]])


def _parts(
    modules: Sequence[Any], names: Sequence[str], x: Tensor, spans: Spans
) -> tuple[Tensor, Adapted, list[Tensor | None]]:
    """The input in the dtype that is computed in; scalings and tensors of the projections, of one module a plugin."""
    tensors: list[Tensor | None] = []
    scalings = []
    for name in names:
        each = [getattr(module, name) for module in modules]
        weight, bias, *_ = _tensors(each[0])
        tensors += [weight, bias, *(side for part in each for side in _tensors(part)[2:])]
        scalings.append(tuple(map(_scaling, each)))
    return x.to(getattr(modules[0], names[0])._loragent_compute), Adapted(tuple(scalings), spans), tensors


def _linear(self: Any, x: Tensor) -> Tensor:
    y: Tensor = LoraLinear.apply(x.to(self._loragent_compute), *_tensors(self), _scaling(self))  # type: ignore[no-untyped-call]
    return y


def _layer(self: Any, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any) -> Tensor:
    """A decoder layer. No mask is needed: rows are padded behind, where causality keeps it out."""
    return together([self], hidden_states, position_embeddings, EVERYONE)


def together(layers: Sequence[Any], x: Tensor, rotation: tuple[Tensor, Tensor], spans: Spans) -> Tensor:
    """One decoder layer with the adapters of several twins, each on its own tokens.

    transformers checkpoints in the class's forward, which this one replaces; so it checkpoints itself.

    Args:
        layers: that layer of each twin, lean.
        x: [rows, tokens, d].
        spans: which of the rows * tokens tokens are whose.
    """
    if layers[0].gradient_checkpointing and layers[0].training:
        y: Tensor = checkpoint(_both, layers, x, rotation, spans, use_reentrant=False)
        return y
    return _both(layers, x, rotation, spans)


def _both(layers: Sequence[Any], x: Tensor, rotation: tuple[Tensor, Tensor], spans: Spans) -> Tensor:
    x = x + _attend(layers, x, rotation, spans)
    return x + _feed(layers, x, spans)


def _attend(layers: Sequence[Any], x: Tensor, rotation: tuple[Tensor, Tensor], spans: Spans) -> Tensor:
    x, adapted, tensors = _parts([layer.self_attn for layer in layers], ATTENTION, x, spans)
    norm, scale = _norm(layers[0].input_layernorm), layers[0].self_attn.scaling
    y: Tensor = SelfAttention.apply(x, norm, rotation, scale, adapted, *tensors)  # type: ignore[no-untyped-call]
    return y


def _feed(layers: Sequence[Any], x: Tensor, spans: Spans) -> Tensor:
    x, adapted, tensors = _parts([layer.mlp for layer in layers], MLP, x, spans)
    y: Tensor = GatedMlp.apply(x, _norm(layers[0].post_attention_layernorm), adapted, *tensors)  # type: ignore[no-untyped-call]
    return y


def _norm(module: Any) -> Norm:
    return Norm(module.weight, module.variance_epsilon)
