"""The network that is trained: adapters on a twin of the base, and its loss on rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core import PluginRefused, TrainingRow
from ..model import LoadedModel, twin_of
from ..plugin import LoraWeights
from . import variants
from .loss import head_distillation, head_score
from .pause import let_answers_pass
from .precision import autocast, lower
from .room import room
from .settings import TrainSettings
from .streamline import streamline
from .trunk import HiddenStates, Split, lasting

Beneath = tuple[LoraWeights, float]  # a plugin's weights and its scale


class Network:
    """Fresh adapters on the top layers of a twin that shares the base's tensors.

    Args:
        beneath: plugins with their scales whose updates are part of what the adapters are trained on; the twin has
            weights of its own where they touch it.

    Attributes:
        parameters: the adapters' matrices by name, float32.
        layers: the trained ones.
        head: [v, d], in the precision that is computed in.
        lean: whether the layers run in the lean form, on top of a trunk; then :mod:`joint` can train it with others.
    """

    def __init__(
        self, loaded: LoadedModel, rows: Sequence[TrainingRow], settings: TrainSettings, beneath: Sequence[Beneath] = ()
    ) -> None:
        self._rows, self._device = rows, loaded.device
        twin = twin_of(loaded.model)
        for weights, scale in beneath:
            _fold(twin, weights, scale)
        self._adapted = variants.inject(twin, settings, loaded.name)
        self.parameters: dict[str, Tensor] = {n: p for n, p in self._adapted.named_parameters() if p.requires_grad}
        self._mode: bool | None = None  # whether they are in training; the twin's own modules don't agree on it
        self._decoder = twin.get_decoder()
        split = Split(self._decoder, settings.layers)
        self.head = lower(twin, settings.layers)
        self.layers = self._decoder.layers[-settings.layers :]
        lean = streamline(self._decoder, self.layers, self.head.dtype)
        self.lean = lean and split.cuts and not beneath
        distilled = frozenset(row.ids for row in rows if row.teacher is not None)  # what each run holds to the base
        common = None if beneath else (lasting(loaded.model, settings.layers), distilled)
        self._kept = room(loaded.device).kept // _token_bytes(self.layers[0], self.head.dtype) if lean else 0
        let_answers_pass(self._decoder.layers)
        twin.activation_checkpointing_enable({"use_reentrant": False})
        self._hidden = HiddenStates(split, [r.ids for r in rows], loaded.device, self.head.dtype, common)

    def losses(self, part: Sequence[int]) -> Tensor:
        """Of each of the rows with these indices, the loss over its targets: [rows], in nats."""
        self.begin(len(part) * self.width(part))
        with autocast(self.head):
            hidden = self._hidden.final(part)
        return self.by_row(head_distillation(*self.at_targets(hidden, part), head=self.head), part)

    @torch.no_grad()
    def score(self, part: Sequence[int]) -> tuple[float, int, int]:
        """Summed negative log-likelihood, tokens that greedy decoding would take, and tokens."""
        self._training(False)
        with autocast(self.head):
            hidden = self._hidden.final(part)
        places, targets = self._targets(part)
        losses, hits = head_score(hidden[places], self.head, targets)
        return float(losses.sum()), int(hits.sum()), len(targets)

    # -- the pieces of a pass ----------------------------------------------------------------------

    def begin(self, tokens: int, plugins: int = 1) -> None:
        """Before a pass over so many tokens of some plugins: as many layers as fit keep their activations; the others
        are computed again in the backward pass.
        """
        self._training(True)
        kept = plugins * self._kept // tokens
        for above, layer in enumerate(reversed(self.layers)):
            layer.gradient_checkpointing = above >= kept

    def width(self, part: Sequence[int]) -> int:
        """Tokens that each of the rows with these indices takes, padding included."""
        return self._hidden.width(part)

    def below(self, part: Sequence[int], width: int) -> Tensor:
        """Hidden states [rows, width, d] where the trained layers begin."""
        return self._hidden.below(part, width)

    def rotation(self, x: Tensor) -> Any:
        """Cosines and sines of the positions of x [rows, tokens, d]."""
        return self._decoder.rotary_emb(x, torch.arange(x.shape[1], device=x.device)[None])

    def norm(self, x: Tensor) -> Tensor:
        """The last norm."""
        y: Tensor = self._decoder.norm(x)
        return y

    def at_targets(self, hidden: Tensor, part: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Of final hidden states those that predict a trained token, [n, d]; the tokens that are wanted there, or a
        teacher's likeliest, [n, k]; and how much each counts, [n, k].
        """
        places, targets = self._targets(part)
        rows = [self._rows[i] for i in part]
        most = max((len(row.teacher.ids[0]) for row in rows if row.teacher is not None), default=0)
        if not most:
            return hidden[places], targets[:, None], torch.ones(len(targets), 1, device=self._device)
        wanted = [pair for row in rows for pair in _wanted(row, most)]
        ids, shares = (torch.tensor(side, device=self._device) for side in zip(*wanted, strict=True))
        return hidden[places], ids, shares

    def by_row(self, losses: Tensor, part: Sequence[int]) -> Tensor:
        """Losses at the targets of rows, [n] -> their sums, [rows]."""
        return torch.stack([each.sum() for each in torch.split(losses, [self._rows[i].targets for i in part])])

    def _training(self, on: bool) -> None:
        if self._mode is not on:  # it walks through a thousand modules
            self._adapted.train(on)
            self._mode = on

    def _targets(self, part: Sequence[int]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Where the trained tokens are predicted, as row and position, and those tokens [n]."""
        places = [(n, at) for n, i in enumerate(part) for at, on in enumerate(self._rows[i].mask) if on and at > 0]
        row, at = torch.tensor(places, device=self._device).unbind(1)
        targets = torch.tensor([self._rows[part[n]].ids[a] for n, a in places], device=self._device)
        return (row, at - 1), targets

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


@torch.no_grad()
def _fold(twin: Any, weights: LoraWeights, scale: float) -> None:
    """W + scale * scaling * B A in the place of W, in tensors of the twin's own."""
    for name, pair in weights.pairs.items():
        layer = twin.get_submodule(name)
        update = (scale * pair.scaling) * (pair.b.float() @ pair.a.float())
        folded = (layer.weight.float() + update.to(layer.weight.device)).to(layer.weight.dtype)
        layer.weight = nn.Parameter(folded, requires_grad=False)


def _wanted(row: TrainingRow, most: int) -> list[tuple[list[int], list[float]]]:
    """For each trained position of a row, ids [most] and how much each counts: a teacher's, or the token alone."""
    if row.teacher is None:
        rest = [0] * (most - 1)
        tokens = [token for token, on in zip(row.ids[1:], row.mask[1:], strict=True) if on]
        return [([token, *rest], [1.0, *map(float, rest)]) for token in tokens]
    pairs = zip(row.teacher.ids, row.teacher.probabilities, strict=True)
    return [([*ids, *[0] * (most - len(ids))], [*shares, *[0.0] * (most - len(ids))]) for ids, shares in pairs]


def _token_bytes(layer: nn.Module, dtype: torch.dtype) -> int:
    """What a streamlined layer keeps of a token: about what its projections give, and one vector of its width."""
    linear = [m for name, m in layer.named_modules() if isinstance(m, nn.Linear) and "lora_" not in name]
    shapes = [module.weight.shape for module in linear]  # (out, in); what A gives is small beside it
    return dtype.itemsize * (sum(out for out, _ in shapes) + shapes[0][1])
