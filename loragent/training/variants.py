"""Adapters on a twin of the base. The only file that imports PEFT's tuners.

PiSSA and OLoRA would rewrite the weights that the twin shares with the base, so they are not offered.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .settings import TrainSettings


def inject(twin: Any, settings: TrainSettings, base_name: str) -> Any:
    """Put fresh adapters (B = 0) on the linear layers of the twin's top layers, in place."""
    count = twin.config.num_hidden_layers
    top = settings.layers or count
    targets = sorted(
        {
            name.rpartition(".")[2]
            for name, module in twin.get_decoder().layers.named_modules()
            if isinstance(module, nn.Linear)
        }
    )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        layers_to_transform=list(range(max(0, count - top), count)),
        use_rslora=settings.variant == "rslora",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(settings.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing.*"
        )  # PEFT asks transformers by the old name
        adapted = get_peft_model(twin, config, autocast_adapter_dtype=False)
    # A name, not the path of this machine's cache: the config travels with the plugin.
    adapted.peft_config["default"].base_model_name_or_path = base_name
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # the optimiser works in fp32 whatever the base's dtype
    return adapted


def by_layer(adapted: Any) -> dict[str, tuple[Tensor, Tensor, float]]:
    """A [r, in], B [out, r] and the scaling of every adapted layer, by the layer's path in the base."""
    return {
        name.removeprefix("base_model.model."): (
            module.lora_A["default"].weight,
            module.lora_B["default"].weight,
            float(module.scaling["default"]),
        )
        for name, module in adapted.named_modules()
        if isinstance(module, LoraLayer)
    }


def save(adapted: Any, folder: Path) -> None:
    """Write the adapters as a PEFT folder, in bfloat16: half the size, and what is scored is what is kept."""
    adapted.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    path = folder / "adapter_model.safetensors"
    save_file({k: t.to(torch.bfloat16) for k, t in load_file(path).items()}, path, metadata={"format": "pt"})
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
