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


def streamline(adapted: Any, trained: Any, compute: torch.dtype) -> bool:
    """Give the modules of a twin their lean forward pass, in place; PEFT still owns the adapters' parameters.

    Layers with dropout or with another variant than plain LoRA keep PEFT's own.

    Args:
        adapted: PEFT's model.
        trained: its decoder layers that have adapters.
        compute: dtype of the activations in them.

    Returns:
        True if every part of the trained layers keeps few activations, so that none need be recomputed whole.
    """
    for module in trained.modules():
        if isinstance(module, Adapted) and _is_plain(module):
            _replace(module, _linear)
            module._loragent_compute = compute
    lean = [_try(module, form) for module in trained.modules() if (form := _form_of(module)) is not None]
    device = next(adapted.parameters()).device
    if device.type == "cpu":
        adapted.config._attn_implementation = ATTENTION  # the twin's own copy of the configuration
    return len(lean) >= 3 * len(trained) and all(lean)  # two norms and an MLP a layer


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
    if not torch.allclose(expected, found, atol=2e-2 * float(expected.abs().max()), rtol=2e-2):
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
    mixed: Tensor = CausalAttention.apply(query, key, value, scaling)  # type: ignore[no-untyped-call]
    return mixed.transpose(1, 2), None


AttentionInterface.register(ATTENTION, _attention)
