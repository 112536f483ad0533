"""The frozen part of a network, computed once: hidden states below the lowest trained layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .room import room

BUCKET, SHORT = 96, 32  # widths are multiples of that, short ones finer: oneDNN compiles for every new shape, 20 MB
FINE = 2  # in float32 on a CPU, where nothing is compiled
LASTING = 64 << 20  # bytes of hidden states that outlast a run

Ids = tuple[int, ...]


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

    @property
    def token_bytes(self) -> int:
        """Of a token's hidden state."""
        weight: Tensor = self._top.norm.weight
        return weight.shape[0] * weight.dtype.itemsize

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


class Kept:
    """Hidden states of rows, as many as there is room for.

    Args:
        room: bytes.
    """

    def __init__(self, room: int) -> None:
        self.left = room
        self.states: dict[Ids, Tensor] = {}

    def add(self, ids: Ids, hidden: Tensor) -> Tensor:
        """hidden: [tokens, d]; a copy of its own where there is room for it."""
        if ids in self.states or hidden.nbytes > self.left:
            return hidden
        self.left -= hidden.nbytes
        self.states[ids] = hidden.clone()
        return self.states[ids]


_LASTING: WeakKeyDictionary[nn.Module, dict[int, Kept]] = WeakKeyDictionary()


def lasting(model: nn.Module, layers: int) -> Kept:
    """What is kept as long as a model: of rows that each run has, where so many of the upper layers are trained."""
    return _LASTING.setdefault(model, {}).setdefault(layers, Kept(LASTING))


class HiddenStates:
    """Final hidden states of rows, with the trunk's part remembered where it fits, once for rows that are the same. It
    is read ahead, for many rows at a time: the fewer, the slower each is multiplied.

    Args:
        dtype: that is computed in.
        common: what is kept of rows that other runs have as well, and which rows those are.
    """

    def __init__(
        self,
        split: Split,
        rows: Sequence[Ids],
        device: torch.device,
        dtype: torch.dtype,
        common: tuple[Kept, frozenset[Ids]] | None = None,
    ) -> None:
        self._split, self._rows, self._device = split, rows, device
        self._long, self._short = (FINE, FINE) if dtype == torch.float32 and device.type == "cpu" else (BUCKET, SHORT)
        self._kept = Kept(room(device).trunk)  # rows that need more are computed anew each time
        self._lasting, self._common = common or (Kept(0), frozenset())
        self._at_once = 2 * room(device).micro_tokens  # nothing is kept for a gradient
        self._unread: dict[int, dict[Ids, None]] = {}  # by width, in their order
        for ids in rows:
            if self._find(ids) is None:
                self._unread.setdefault(self._wide(len(ids)), {})[ids] = None

    def final(self, batch: Sequence[int]) -> Tensor:
        """Final hidden states [rows, tokens, d] of the rows with these indices, padded behind."""
        width = self.width(batch)
        if not self._split.cuts:
            return self._split.whole(self._padded([self._rows[i] for i in batch], width))
        return self._split.above(self.below(batch, width))

    def below(self, batch: Sequence[int], width: int) -> Tensor:
        """Hidden states [rows, width, d] where the trained layers begin; of a decoder that can be cut."""
        rows = [self._rows[i] for i in batch]
        known = {ids: hidden for ids in rows if (hidden := self._find(ids)) is not None}
        if new := list(dict.fromkeys(ids for ids in rows if ids not in known)):
            new += self._ahead(new, width)
            read = zip(new, self._split.below(self._padded(new, width)), strict=True)
            known |= {ids: self._keep(ids, hidden[: len(ids)]) for ids, hidden in read}
        return torch.stack([_pad(known[ids], width) for ids in rows])

    def width(self, batch: Sequence[int]) -> int:
        """Tokens that each of the rows with these indices takes, padding included."""
        return self._wide(max(len(self._rows[i]) for i in batch))

    def _wide(self, tokens: int) -> int:
        bucket = self._short if tokens <= BUCKET else self._long
        return -(-tokens // bucket) * bucket

    def _ahead(self, new: Sequence[Ids], width: int) -> list[Ids]:
        """Rows of a width that will be asked for later, to be read with new ones: as many as there is room for."""
        for ids in new:
            self._unread[self._wide(len(ids))].pop(ids, None)
        unread = self._unread.get(width, {})
        size = self._split.token_bytes * width
        spare = min(self._at_once // width, self._kept.left // size) - len(new)
        found = list(islice(unread, max(0, spare)))
        for ids in found:
            del unread[ids]
        return found

    def _padded(self, rows: Sequence[Ids], width: int) -> Tensor:
        ids = torch.zeros(len(rows), width, dtype=torch.long, device=self._device)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = torch.tensor(row)
        return ids

    def _find(self, ids: Ids) -> Tensor | None:
        kept = self._kept.states.get(ids)
        return kept if kept is not None or ids not in self._common else self._lasting.states.get(ids)

    def _keep(self, ids: Ids, hidden: Tensor) -> Tensor:
        """Where it lasts, if it is to and there is room; else for this run."""
        lasts = ids in self._common and hidden.nbytes <= self._lasting.left
        return (self._lasting if lasts else self._kept).add(ids, hidden)


def _view(decoder: Any, layers: Any, norm: nn.Module) -> Any:
    view = copy.copy(decoder)
    view._modules = {**decoder._modules, "layers": nn.ModuleList(layers), "norm": norm}
    view.config = copy.copy(decoder.config)
    view.config.num_hidden_layers = len(layers)
    return view


def _pad(row: Tensor, width: int) -> Tensor:
    """[tokens, d] -> [width, d]."""
    return nn.functional.pad(row, (0, 0, 0, width - row.shape[0]))
