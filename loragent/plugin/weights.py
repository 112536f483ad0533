"""LoRA weights in and out of a PEFT folder, checked before anything uses them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from ..core import PluginRefused
from ..model import aside
from .manifest import Manifest

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_MORE_THAN_LORA = (
    "use_dora", "modules_to_save", "fan_in_fan_out", "layer_replication", "trainable_token_indices",
    "alora_invocation_tokens", "use_qalora",
)  # fmt: skip

Shapes = Mapping[str, tuple[int, int]]  # linear layer's path in the base -> (out, in)


@dataclass(frozen=True, slots=True)
class LoraPair:
    """One layer's update ``scaling * B A`` (Hu et al. 2021, arXiv 2106.09685).

    Attributes:
        a: [r, in].
        b: [out, r].
        scaling: ``alpha / r``, or ``alpha / sqrt(r)`` for rsLoRA.
    """

    a: Tensor
    b: Tensor
    scaling: float

    def nearest(self, rank: int, scaling: float) -> LoraPair:
        """The same update with another scaling, of at most that rank: what a truncated singular value decomposition
        leaves of it (Eckart & Young 1936), the singular values shared between A and B.
        """
        if len(self.a) <= rank:
            return LoraPair(self.a, self.b * (self.scaling / scaling), scaling)
        left, inner_b = torch.linalg.qr(self.b.float())  # b = left inner_b, a = inner_a^T right^T
        right, inner_a = torch.linalg.qr(self.a.float().T)
        u, values, v = torch.linalg.svd(inner_b @ inner_a.T)
        root = (values[:rank] * (self.scaling / scaling)).sqrt()
        return LoraPair(root[:, None] * (v[:rank] @ right.T), left @ u[:, :rank] * root, scaling)


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """All pairs of a plugin, by the path of the linear layer in the base."""

    pairs: Mapping[str, LoraPair]

    def at(self, scale: float) -> LoraWeights:
        """The same update, so many times as large."""
        return LoraWeights({name: replace(pair, scaling=pair.scaling * scale) for name, pair in self.pairs.items()})

    @property
    def rank(self) -> int:
        """The largest of its pairs."""
        return max((len(p.a) for p in self.pairs.values()), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(t.nbytes for p in self.pairs.values() for t in (p.a, p.b))


def load_weights(folder: Path, shapes: Shapes | None = None, manifest: Manifest | None = None) -> LoraWeights:
    """Read a PEFT folder; beside the thread that computes, so that answers go on meanwhile.

    Args:
        folder: holds ``adapter_model.safetensors`` and ``adapter_config.json``.
        shapes: the base's linear layers; the plugin must fit them.
        manifest: if given, the weights must have its hash.

    Raises:
        PluginRefused: naming the file or field: a pickle, a truncated or tampered file, another kind of
            adapter, a target that the base lacks or has in another shape, non-finite weights.
    """
    return aside(lambda: _load_weights(folder, shapes, manifest))


def soften(folder: Path, factor: float) -> None:
    """Multiply what a PEFT folder does to the base by a factor, in its B's; the file is replaced.

    Raises:
        PluginRefused: it can't be read.
    """
    path = folder / WEIGHTS

    def rewrite() -> None:
        tensors = load(_bytes_of(path))
        scaled = {name: t * factor if ".lora_B." in name else t for name, t in tensors.items()}
        temporary = path.with_suffix(".softened")
        save_file(scaled, temporary, metadata={"format": "pt"})
        temporary.replace(path)

    aside(rewrite)


def _load_weights(folder: Path, shapes: Shapes | None, manifest: Manifest | None) -> LoraWeights:
    config = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        pickles = [p.name for p in folder.glob("*.bin")] + [p.name for p in folder.glob("*.pt")]
        if pickles:
            raise PluginRefused(pickles[0], "pickled weights are never read", "save with safe_serialization=True")
        raise PluginRefused(WEIGHTS, f"{folder} has none", "point at a folder that save_pretrained wrote")
    data = _bytes_of(path)
    if manifest is not None and manifest.sha256 and _sha256(data) != manifest.sha256:
        raise PluginRefused("sha256", f"{path} is not the file that was published", "import the plugin again")
    if (
        manifest is not None
        and manifest.config_sha256
        and _sha256(_bytes_of(folder / CONFIG)) != manifest.config_sha256
    ):
        raise PluginRefused(
            "config_sha256", f"{folder / CONFIG} was changed after publishing", "import the plugin again"
        )
    try:
        tensors = load(data)  # from the bytes that were hashed; and each opened file would leave 3 KB behind
    except (SafetensorError, ValueError) as error:
        raise PluginRefused(WEIGHTS, f"{path} is truncated or damaged ({error})", "copy it again") from error
    pairs = _pair_up(tensors, config)
    _check_finite(pairs)
    if shapes is not None:
        check_shapes(pairs, shapes)
    return LoraWeights(pairs)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PluginRefused(path.name, f"{path} can't be read ({error})", "copy it again") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """``adapter_config.json``, refused if it asks for what plain LoRA can't hold."""
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise PluginRefused(CONFIG, f"{folder} has none", "point at a folder that save_pretrained wrote") from None
    except (ValueError, OSError) as error:
        raise PluginRefused(CONFIG, f"{path} is no JSON ({error})", "copy it again") from error
    if config.get("peft_type") != "LORA":
        raise PluginRefused(
            "peft_type", f"{config.get('peft_type')!r} is not LORA", "convert the adapter to LoRA first"
        )
    for field in _MORE_THAN_LORA:
        if config.get(field):
            raise PluginRefused(field, f"{config[field]!r} is more than plain LoRA", "train without it, or convert it")
    if str(config.get("init_lora_weights")).partition("_")[0] in ("pissa", "olora", "corda", "loftq"):
        raise PluginRefused(
            "init_lora_weights",
            f"{config['init_lora_weights']!r} rewrites the shared base when it is loaded",
            "convert it to plain LoRA with save_pretrained(path_initial_model_for_weight_conversion=...)",
        )
    if config.get("bias", "none") != "none":
        raise PluginRefused("bias", f"{config['bias']!r} trains biases of the base", 'train with bias="none"')
    return config


def check_shapes(pairs: Mapping[str, LoraPair], shapes: Shapes) -> None:
    """Refuse a plugin whose layers are not those of the base."""
    for name, pair in pairs.items():
        if name not in shapes:
            raise PluginRefused(name, "the base has no such linear layer", "use the base it was trained on")
        found = (pair.b.shape[0], pair.a.shape[1])
        if found != tuple(shapes[name]):
            raise PluginRefused(
                name, f"shape {found}, the base has {tuple(shapes[name])}", "use the base it was trained on"
            )


def _pair_up(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, LoraPair]:
    sides: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        for side in ("lora_A", "lora_B"):
            # PEFT itself leaves the adapter's name out of the file; older writers keep ".default".
            for ending in (f".{side}.weight", f".{side}.default.weight"):
                if name.endswith(ending):
                    sides.setdefault(name.removesuffix(ending), {})[side] = tensor.float()
                    break
            else:
                continue
            break
        else:
            raise PluginRefused(key, "is no LoRA matrix of a linear layer", "train plain LoRA on linear layers only")
    if not sides:
        raise PluginRefused(WEIGHTS, "holds no LoRA matrices", "save the adapter again")
    return {name: _pair(name, found, config) for name, found in sides.items()}


def _pair(name: str, found: Mapping[str, Tensor], config: Mapping[str, Any]) -> LoraPair:
    if len(found) != 2:
        raise PluginRefused(name, f"has {next(iter(found))} alone", "save the adapter again")
    a, b = found["lora_A"], found["lora_B"]
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise PluginRefused(name, f"A {tuple(a.shape)} and B {tuple(b.shape)} don't multiply", "save the adapter again")
    rank = a.shape[0]
    alpha = float(_pattern(config.get("alpha_pattern"), name, config.get("lora_alpha") or rank))
    scaling = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    return LoraPair(a.contiguous(), b.contiguous(), scaling)


def _pattern(patterns: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    if not patterns:
        return default
    from peft.utils.other import get_pattern_key  # PEFT's own rule for which pattern meets which layer

    return patterns.get(get_pattern_key(list(patterns), name), default)


def _check_finite(pairs: Mapping[str, LoraPair]) -> None:
    # What is not finite makes its sum so; nearly always that is the only look there is.
    sums = torch.stack([side.sum() for pair in pairs.values() for side in (pair.a, pair.b)])
    if torch.isfinite(sums).all() and all(math.isfinite(pair.scaling) for pair in pairs.values()):
        return
    for name, pair in pairs.items():
        # A masked plugin still multiplies its rows by 0, and 0 * NaN would leak into a neighbour's row.
        if not (torch.isfinite(pair.a).all() and torch.isfinite(pair.b).all() and math.isfinite(pair.scaling)):
            raise PluginRefused(name, "has weights that are not finite", "train again with a lower learning rate")
