"""The network that is trained: adapters on a twin of the base, and its loss on rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core import PluginRefused, TrainingRow
from ..model import LoadedModel, twin_of
from ..plugin import LoraWeights
from . import variants
from .loss import head_distillation, head_loss, head_score
from .pause import let_answers_pass
from .precision import autocast, lower
from .settings import TrainSettings
from .streamline import streamline
from .trunk import HiddenStates, Split

KEPT_BYTES = 64 << 20  # of activations from the forward to the backward pass


class Network:
    """Fresh adapters on the top layers of a twin that shares the base's tensors.

    Attributes:
        parameters: the adapters' matrices by name, float32.
    """

    def __init__(self, loaded: LoadedModel, rows: Sequence[TrainingRow], settings: TrainSettings) -> None:
        self._rows, self._device = rows, loaded.device
        twin = twin_of(loaded.model)
        self._adapted = variants.inject(twin, settings, loaded.name)
        self.parameters: dict[str, Tensor] = {n: p for n, p in self._adapted.named_parameters() if p.requires_grad}
        split = Split(twin.get_decoder(), settings.layers)
        self._head = lower(twin, settings.layers)  # [v, d]
        self._layers = twin.get_decoder().layers[-settings.layers :]
        lean = streamline(twin.get_decoder(), self._layers, self._head.dtype)
        self._kept = KEPT_BYTES // _token_bytes(self._layers[0], self._head.dtype) if lean else 0
        let_answers_pass(twin.get_decoder().layers)
        twin.activation_checkpointing_enable({"use_reentrant": False})
        self._hidden = HiddenStates(split, [row.ids for row in rows], loaded.device)

    def loss(self, part: Sequence[int]) -> Tensor:
        """Summed loss over the targets of the rows with these indices, in nats."""
        self._adapted.train()
        self._recompute(part)
        hidden, targets = self._at_targets(part)
        teachers = [row.teacher for row in (self._rows[i] for i in part) if row.teacher is not None]
        if not teachers:
            return head_loss(hidden, self._head, targets)
        ids = torch.tensor([k for t in teachers for k in t.ids], device=self._device)
        probabilities = torch.tensor([k for t in teachers for k in t.probabilities], device=self._device)
        return head_distillation(hidden, self._head, ids, probabilities)

    @torch.no_grad()
    def score(self, part: Sequence[int]) -> tuple[float, int, int]:
        """Summed negative log-likelihood, tokens that greedy decoding would take, and tokens."""
        self._adapted.eval()
        hidden, targets = self._at_targets(part)
        losses, hits = head_score(hidden, self._head, targets)
        return float(losses.sum()), int(hits.sum()), len(targets)

    @torch.no_grad()
    def put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite the adapters with saved ones."""
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[name])

    @torch.no_grad()
    def start_from(self, weights: LoraWeights) -> None:
        """Begin with what a plugin does to the layers that are trained, as near as their rank allows.

        Raises:
            PluginRefused: it touches none of them.
        """
        sides = variants.by_layer(self._adapted)
        shared = sides.keys() & weights.pairs.keys()
        if not shared:
            raise PluginRefused("start", "it touches none of the layers that are trained", "train more layers")
        for name in shared:
            a, b, scaling = sides[name]
            pair = weights.pairs[name].nearest(len(a), scaling)
            rank = len(pair.a)  # what a wider adapter has besides begins with B = 0
            a[:rank] = pair.a
            b[:, :rank] = pair.b

    def save(self, folder: Path) -> None:
        """Write the adapters as a PEFT folder."""
        variants.save(self._adapted, folder)

    def _recompute(self, part: Sequence[int]) -> None:
        """Let as many layers keep their activations as fit; the others are computed again in the backward pass."""
        kept = self._kept // self._hidden.padded(part)
        for above, layer in enumerate(reversed(self._layers)):
            layer.gradient_checkpointing = above >= kept

    def _at_targets(self, part: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Hidden states [n, d] that predict the trained tokens, and those tokens [n]."""
        with autocast(self._head):
            hidden = self._hidden.final(part)
        places = [(n, at) for n, i in enumerate(part) for at, on in enumerate(self._rows[i].mask) if on and at > 0]
        row, at = torch.tensor(places, device=self._device).unbind(1)
        targets = torch.tensor([self._rows[part[n]].ids[a] for n, a in places], device=self._device)
        return hidden[row, at - 1], targets


def _token_bytes(layer: nn.Module, dtype: torch.dtype) -> int:
    """What a streamlined layer keeps of a token: about what its projections give, and one vector of its width."""
    linear = [m for name, m in layer.named_modules() if isinstance(m, nn.Linear) and "lora_" not in name]
    shapes = [module.weight.shape for module in linear]  # (out, in); what A gives is small beside it
    return dtype.itemsize * (sum(out for out, _ in shapes) + shapes[0][1])
