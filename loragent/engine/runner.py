"""One forward pass over a batch of rows with different stacks."""

from __future__ import annotations

from collections.abc import Sequence as Rows

import torch
from torch import Tensor

from ..core import TrainingRow
from ..model import LoadedModel, twin_of
from .cache import KeyValueCache
from .lora import Planner, Stack, StackContext, mount_layers
from .sequence import Sequence


class Runner:
    """Runs the shared base, with plans mounted, over prompts (prefill) and single tokens (decode).

    Call it under ``torch.inference_mode()``: the cache is updated in place.
    """

    def __init__(self, loaded: LoadedModel, max_rows: int = 32) -> None:
        self._model = twin_of(loaded.model)
        self._device = loaded.device
        self._context = StackContext()
        mount_layers(self._model, list(loaded.linear_shapes()), self._context)
        self.planner = Planner()
        self.cache = KeyValueCache(self._model.config.num_hidden_layers, max_rows)

    def prefill(self, rows: Rows[Sequence], first: int) -> Tensor:
        """Read prompts into the slots from ``first`` on; returns logits [rows, vocabulary] of their last tokens.

        A row that begins like a running one gets that row's keys and values, and only the rest is read.
        """
        starts = torch.tensor([row.shared.tokens for row in rows])
        lengths = torch.tensor([len(row.ids) for row in rows]) - starts
        fresh, width = int(lengths.max()), int((starts + lengths).max())
        self.cache.reserve(first + len(rows), width + 1)
        ids = torch.zeros(len(rows), fresh, dtype=torch.long)
        for i, row in enumerate(rows):
            self.cache.copy(row.shared.slot, first + i, row.shared.tokens)
            ids[i, : int(lengths[i])] = torch.tensor(row.ids[row.shared.tokens :])
        # Padding lies behind each row's tokens, so causality alone keeps it out; what would lie behind the longest
        # row shares one place there, so that no position is past the context.
        positions = (starts[:, None] + torch.arange(fresh)).clamp(max=width)
        mask = torch.arange(width) <= positions[:, None, :, None]  # [rows, 1, q, k]
        hidden = self._forward(rows, ids, positions, mask, first, width)
        return self._head(hidden[torch.arange(len(rows)), lengths - 1])

    def decode(self, rows: Rows[Sequence]) -> Tensor:
        """Read one token of each row, slot i being row i; returns logits [rows, vocabulary]."""
        done = torch.tensor([row.done for row in rows])
        width = int(done.max()) + 1
        self.cache.reserve(len(rows), width)
        ids = torch.tensor([[row.ids[-1]] for row in rows])
        mask = (torch.arange(width) <= done[:, None])[:, None, None]  # [rows, 1, 1, k]
        hidden = self._forward(rows, ids, done[:, None], mask, 0, width)
        return self._head(hidden[:, -1])

    def at_targets(self, rows: Rows[TrainingRow], stack: Stack) -> Tensor:
        """Logits [n, vocabulary] that predict the masked tokens of some rows, row after row."""
        lengths = [len(row.ids) for row in rows]
        ids = torch.zeros(len(rows), max(lengths), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = torch.tensor(row.ids)
        self._context.plan = self.planner.plan([stack] * len(rows))
        # Padding lies behind, where causality keeps it out.
        hidden = self._model.get_decoder()(input_ids=ids.to(self._device), use_cache=False).last_hidden_state
        places = [(i, at - 1) for i, row in enumerate(rows) for at, on in enumerate(row.mask) if on and at > 0]
        row_index, position = torch.tensor(places, device=self._device).unbind(1)
        return self._head(hidden[row_index, position])

    def _forward(
        self, rows: Rows[Sequence], ids: Tensor, positions: Tensor, mask: Tensor, first: int, width: int
    ) -> Tensor:
        """ids, positions: [rows, q]; mask: [rows, 1, q, k], True where attended -> hidden [rows, q, d]."""
        self._context.plan = self.planner.plan([row.stack for row in rows])
        positions = positions.to(self._device)
        output = self._model.get_decoder()(
            input_ids=ids.to(self._device),
            position_ids=positions,
            attention_mask=mask.to(self._device),
            past_key_values=self.cache.writer(first, positions, width),
            use_cache=True,
        )
        for row in rows:
            row.done = len(row.ids)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _head(self, hidden: Tensor) -> Tensor:
        """[rows, d] -> fp32 logits [rows, vocabulary]."""
        logits: Tensor = self._model.get_output_embeddings()(hidden)
        return logits.float()
