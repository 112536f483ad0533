"""Which modules of a trained twin get a lean form, found out by trying: a form is used where it gives the same."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import Linear as Adapted
from torch import Tensor, nn
from transformers import AttentionInterface

from .fused import CausalAttention, GatedMlp, LoraLinear, RmsNorm

ATTENTION = "loragent_math"
MLP = ("gate_proj", "up_proj", "down_proj")
TOLERANCE = 0.03  # by which two forms may differ in bfloat16; other activations differ by a tenth and more


def streamline(decoder: Any, trained: Any, compute: torch.dtype) -> bool:
    """Give the modules of a twin their lean forward pass, in place; PEFT still owns the adapters' parameters.

    Layers with dropout or with another variant than plain LoRA keep PEFT's own.

    Args:
        decoder: the twin's, with adapters.
        trained: its layers that have adapters.
        compute: dtype of the activations in them.

    Returns:
        True if all of every trained layer is lean, so that what it keeps can be told from its shape.
    """
    linear = [module for module in trained.modules() if isinstance(module, Adapted)]
    for module in filter(_is_plain, linear):
        _replace(module, _linear)
        module._loragent_compute = compute
    forms = [(module, form) for module in trained.modules() if (form := _form_of(module)) is not None]
    lean = [_try(module, form) for module, form in forms]
    if next(decoder.parameters()).device.type == "cpu" and not getattr(decoder.config, "attention_dropout", 0.0):
        _try_attention(decoder, compute)
    mlps = sum(form is _gated_mlp for _, form in forms)
    return mlps == len(trained) and all(lean) and all(map(_is_plain, linear))


@torch.no_grad()
def _try_attention(decoder: Any, compute: torch.dtype) -> None:
    """Use :class:`CausalAttention` if the decoder says the same with it."""
    config = decoder.config  # the twin's own copy
    probe = torch.arange(1, 9)[None]
    found = []
    usual = config._attn_implementation
    for name in (usual, ATTENTION):
        config._attn_implementation = name
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=compute == torch.bfloat16):
                found.append(decoder(input_ids=probe, use_cache=False).last_hidden_state.float())
        except RuntimeError:  # another shape of values than of queries, say
            break
    if len(found) < 2 or (found[0] - found[1]).norm() > TOLERANCE * found[0].norm():
        config._attn_implementation = usual


def _form_of(module: Any) -> Callable[..., Tensor] | None:
    if all(isinstance(getattr(module, name, None), Adapted) for name in MLP):
        return _gated_mlp
    epsilon, weight = getattr(module, "variance_epsilon", None), getattr(module, "weight", None)
    return _rms_norm if epsilon is not None and weight is not None and weight.ndim == 1 else None


@torch.no_grad()
def _try(module: Any, form: Callable[..., Tensor]) -> bool:
    """Use a form if it agrees with the module on a probe."""
    plain = [m for m in module.modules() if isinstance(m, Adapted)]
    if not all(map(_is_plain, plain)):
        return False
    like = module.weight if not plain else plain[0].base_layer.weight
    width = like.shape[-1]
    probe = torch.linspace(-2, 2, 4 * width, device=like.device).view(1, 4, width).to(like.dtype)
    with torch.autocast(like.device.type, enabled=False):
        expected, found = module(probe).float(), form(module, probe).float()
    if (expected - found).norm() > TOLERANCE * expected.norm():
        return False
    _replace(module, form)
    return True


def _replace(module: Any, form: Callable[..., Tensor]) -> None:
    module.forward = types.MethodType(form, module)


def _is_plain(module: Any) -> bool:
    (name,) = module.active_adapters
    return not module.use_dora[name] and isinstance(module.lora_dropout[name], nn.Identity)


def _tensors(module: Any) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    (name,) = module.active_adapters
    base = module.base_layer
    return base.weight, base.bias, module.lora_A[name].weight, module.lora_B[name].weight


def _scaling(module: Any) -> float:
    return float(module.scaling[module.active_adapters[0]])


def _linear(self: Any, x: Tensor) -> Tensor:
    y: Tensor = LoraLinear.apply(x.to(self._loragent_compute), *_tensors(self), _scaling(self))  # type: ignore[no-untyped-call]
    return y


def _gated_mlp(self: Any, x: Tensor) -> Tensor:
    parts = [getattr(self, name) for name in MLP]
    tensors = [t for part in parts for t in _tensors(part)]
    x = x.to(parts[0]._loragent_compute)
    y: Tensor = GatedMlp.apply(x, tuple(map(_scaling, parts)), *tensors)  # type: ignore[no-untyped-call]
    return y


def _rms_norm(self: Any, x: Tensor) -> Tensor:
    y: Tensor = RmsNorm.apply(x, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
    return y


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface; no mask is needed: rows are padded behind, and causality keeps that out."""
    # Rotation in float32 widens queries and keys.
    query, key = query.to(value.dtype), key.to(value.dtype)
    mixed: Tensor = CausalAttention.apply(query, key, value, scaling)  # type: ignore[no-untyped-call]
    return mixed.transpose(1, 2), None


AttentionInterface.register(ATTENTION, _attention)
