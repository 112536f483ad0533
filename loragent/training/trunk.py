"""The frozen part of a network, computed once: hidden states below the lowest trained layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .room import room

BUCKET, SHORT = 96, 32  # widths are multiples of that, short ones finer: oneDNN compiles for every new shape, 20 MB


class Split:
    """A decoder cut in two: a frozen trunk and the trained layers on top.

    Both halves are views over the same modules, driven through transformers' own forward, so that any
    architecture of the form embed -> layers -> norm works. Where it does not (an architecture that scales its
    embeddings, say), the probe shows it, and the whole decoder runs every time.

    Args:
        decoder: the (adapted) decoder.
        layers: how many of its layers are trained.
    """

    def __init__(self, decoder: Any, layers: int) -> None:
        total = len(decoder.layers)
        below = total - (layers or total)
        self._whole = decoder
        self._trunk = _view(decoder, decoder.layers[:below], nn.Identity())
        self._top = _view(decoder, decoder.layers[below:], decoder.norm)
        self.cuts = below > 0 and self._agrees()

    def below(self, ids: Tensor) -> Tensor:
        """ids: [rows, tokens] -> hidden states [rows, tokens, d] where the trained layers begin."""
        with torch.no_grad():
            hidden: Tensor = self._trunk(input_ids=ids, use_cache=False).last_hidden_state
        return hidden.to(self._top.norm.weight.dtype)

    def above(self, hidden: Tensor) -> Tensor:
        """[rows, tokens, d] -> final hidden states, of the same shape."""
        output: Tensor = self._top(inputs_embeds=hidden, use_cache=False).last_hidden_state
        return output

    def whole(self, ids: Tensor) -> Tensor:
        """ids: [rows, tokens] -> final hidden states [rows, tokens, d]."""
        output: Tensor = self._whole(input_ids=ids, use_cache=False).last_hidden_state
        return output

    @torch.no_grad()
    def _agrees(self) -> bool:
        device = next(iter(self._whole.parameters())).device
        probe = torch.arange(1, 9, device=device)[None]
        return bool(torch.allclose(self.above(self.below(probe)), self.whole(probe), atol=1e-3, rtol=1e-3))


class HiddenStates:
    """Final hidden states of rows, with the trunk's part remembered where it fits."""

    def __init__(self, split: Split, rows: Sequence[Sequence[int]], device: torch.device) -> None:
        self._split, self._rows, self._device = split, rows, device
        self._kept: dict[int, Tensor] = {}
        self._bytes, self._room = 0, room(device).trunk  # rows that need more are computed anew each time

    def final(self, batch: Sequence[int]) -> Tensor:
        """Final hidden states [rows, tokens, d] of the rows with these indices, padded behind."""
        width = self.width(batch)
        if not self._split.cuts:
            return self._split.whole(self._padded_ids(batch, width))
        return self._split.above(self.below(batch, width))

    def below(self, batch: Sequence[int], width: int) -> Tensor:
        """Hidden states [rows, width, d] where the trained layers begin; of a decoder that can be cut."""
        if all(i in self._kept for i in batch):
            return torch.stack([_pad(self._kept[i], width) for i in batch])
        hidden = self._split.below(self._padded_ids(batch, width))
        self._keep(batch, hidden)
        return hidden

    def width(self, batch: Sequence[int]) -> int:
        """Tokens that each of the rows with these indices takes, padding included."""
        longest = max(len(self._rows[i]) for i in batch)
        bucket = SHORT if longest <= BUCKET else BUCKET
        return -(-longest // bucket) * bucket

    def _padded_ids(self, batch: Sequence[int], width: int) -> Tensor:
        ids = torch.zeros(len(batch), width, dtype=torch.long, device=self._device)
        for n, i in enumerate(batch):
            ids[n, : len(self._rows[i])] = torch.tensor(self._rows[i])
        return ids

    def _keep(self, batch: Sequence[int], hidden: Tensor) -> None:
        for n, i in enumerate(batch):
            row = hidden[n, : len(self._rows[i])]
            if i not in self._kept and self._bytes + row.nbytes <= self._room:
                self._kept[i] = row.clone()
                self._bytes += row.nbytes


def _view(decoder: Any, layers: Any, norm: nn.Module) -> Any:
    view = copy.copy(decoder)
    view._modules = {**decoder._modules, "layers": nn.ModuleList(layers), "norm": norm}
    view.config = copy.copy(decoder.config)
    view.config.num_hidden_layers = len(layers)
    return view


def _pad(row: Tensor, width: int) -> Tensor:
    """[tokens, d] -> [width, d]."""
    return nn.functional.pad(row, (0, 0, 0, width - row.shape[0]))
