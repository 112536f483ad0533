"""One forward pass over a batch of rows with different stacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Rows
from functools import partial

import torch
from torch import Tensor

from ..core import TrainingRow
from ..model import LoadedModel
from ..plugin import LoraWeights
from .build import build_decoder, build_head
from .cache import KeyValueCache
from .decoder import Pass
from .graphs import WIDTH, Graphs
from .lean import LeanDecoder
from .lora import Mount, Plan, Resident, Stack, arrange
from .planner import Planner
from .scored import Scored
from .sequence import Sequence


class Runner:
    """Runs the shared base, with plans mounted, over prompts (prefill) and single tokens (decode).

    Call it under ``torch.inference_mode()``: the cache is updated in place.
    """

    def __init__(self, loaded: LoadedModel, max_rows: int = 32) -> None:
        self._device = loaded.device
        self._head, self._decoder = build_head(loaded), build_decoder(loaded)
        self.layers = int(loaded.model.config.num_hidden_layers)
        self._dtype = loaded.dtype
        self.planner = Planner(self._decoder.fans, loaded.linear_shapes(), loaded.device, loaded.dtype)
        self.cache = KeyValueCache(self.layers, max_rows)
        self.scored = Scored()
        lean = isinstance(self._decoder, LeanDecoder)
        self._graphs = Graphs() if lean and loaded.device.type == "cuda" else None

    def arrange(self, weights: LoraWeights) -> Resident:
        """A plugin's weights as this runner multiplies with them; from any thread."""
        return arrange(weights, self._decoder.fans, self._decoder.level, self._device, self._dtype)

    def floor(self, stack: Iterable[Mount]) -> int:
        """The lowest layer that a stack touches; the number of layers, if none."""
        return min((mount.weights.floor for mount in stack), default=self.layers)

    def read(self, rows: Rows[Sequence], counts: Rows[int], levels: Iterable[int] = ()) -> Tensor:
        """Read the next tokens of each prompt; returns logits [n, vocabulary] of the n rows that are whole then.

        Args:
            rows: whose next tokens are read from the same level.
            counts: tokens of each.
            levels: at which hidden states are kept, for trunks.
        """
        starts, lengths = torch.tensor([row.done for row in rows]), torch.tensor(counts)
        fresh, width = int(lengths.max()), int((starts + lengths).max())
        self.cache.reserve(max(row.slot for row in rows) + 1, width + 1)
        ids = torch.zeros(len(rows), fresh, dtype=torch.long)
        for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
            ids[i, :count] = torch.tensor(row.ids[row.done : row.done + count])
        # Padding lies behind each row's tokens, so causality alone keeps it out; what would lie behind the longest
        # row shares one place there, so that no position is past the context.
        positions = (starts[:, None] + torch.arange(fresh)).clamp(max=width)
        mask = torch.arange(width) <= positions[:, None, :, None]  # [rows, 1, q, k]
        step = self._pass(rows, ids, positions, mask, width)
        step.level, step.hidden, step.taps = rows[0].level, _known(rows, counts), dict.fromkeys(levels)
        hidden = self._decoder(self.planner.reading([row.mounts for row in rows]), step)
        whole = [i for i, row in enumerate(rows) if row.done + counts[i] == len(row.ids)]
        logits = self._logits(hidden[whole, lengths[whole] - 1])
        for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
            row.tap({level: x[i, :count] for level, x in step.taps.items() if x is not None})
        for row, count in zip(rows, counts, strict=True):  # now that nothing can fail any more
            row.done += count
        return logits

    def decode(self, rows: Rows[Sequence]) -> Tensor:
        """Read one token of each row; returns logits [rows, vocabulary]."""
        width = max(row.done for row in rows) + 1
        self.cache.reserve(len(rows), width)
        read = torch.tensor([[row.ids[-1] for row in rows], [row.done for row in rows]])
        ids, positions = read.to(self._device).unsqueeze(2)
        plan = self.planner.decoding([row.mounts for row in rows])
        slots = [row.slot for row in rows]
        if self._graphs is None or slots != list(range(len(rows))):  # others are part of a step that is tried again
            logits = self._decoding(plan, slots, width, ids, positions)()
        else:
            width = min(-(-width // WIDTH) * WIDTH, self.cache.tokens)
            step = partial(self._decoding, plan, slots, width)
            logits = self._graphs.logits(ids, positions, width, plan, self.cache.moved, step)
        for row in rows:
            row.done += 1
        return logits

    def _decoding(
        self, plan: Plan, slots: Rows[int], width: int, ids: Tensor, positions: Tensor
    ) -> Callable[[], Tensor]:
        """What reads a token of each row and gives logits [rows, vocabulary]; ids, positions: [rows, 1]."""
        cache = self.cache.writer(slots, positions, width)

        def run() -> Tensor:
            mask = (torch.arange(width, device=self._device) <= positions)[:, None, None]  # [rows, 1, 1, k]
            return self._logits(self._decoder(plan, Pass(ids, positions, mask, cache))[:, -1])

        return run

    def rest(self) -> None:
        """No row is in flight: free what may be freed. Where steps are recorded they stay, with what they rely on."""
        if self._graphs is None:
            self.clear()

    def clear(self) -> None:
        """Free what is kept for the next step: keys, values, and whose plugins were used last."""
        self.cache.clear()
        self.planner.clear()

    def at_targets(self, rows: Rows[TrainingRow], stack: Stack) -> Tensor:
        """Logits [n, vocabulary] that predict the masked tokens of some rows, row after row."""
        lengths = [len(row.ids) for row in rows]
        ids = torch.zeros(len(rows), max(lengths), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = torch.tensor(row.ids)
        plan = self.planner.reading([stack] * len(rows))
        positions = torch.arange(ids.shape[1], device=self._device).expand(ids.shape)
        # Padding lies behind, where causality keeps it out.
        step, level = Pass(ids.to(self._device), positions), self.floor(stack) % self.layers  # 0 without plugins
        known = [found for row in rows if (found := self.scored.get(level, row.ids)) is not None]
        if level and len(known) == len(rows):
            step.level, step.hidden = level, torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
        elif level:
            step.taps[level] = None
        hidden = self._decoder(plan, step)
        if (tapped := step.taps.get(level)) is not None:
            for row, below in zip(rows, tapped, strict=True):
                self.scored.keep(level, row.ids, below[: len(row.ids)])
        places = [(i, at - 1) for i, row in enumerate(rows) for at, on in enumerate(row.mask) if on and at > 0]
        row_index, position = torch.tensor(places, device=self._device).unbind(1)
        return self._logits(hidden[row_index, position])

    def _pass(self, rows: Rows[Sequence], ids: Tensor, positions: Tensor, mask: Tensor, width: int) -> Pass:
        """ids, positions: [rows, q]; mask: [rows, 1, q, k], True where attended; width: k."""
        positions = positions.to(self._device)
        cache = self.cache.writer([row.slot for row in rows], positions, width)
        return Pass(ids.to(self._device), positions, mask.to(self._device), cache)

    def _logits(self, hidden: Tensor) -> Tensor:
        """[rows, d] -> fp32 logits [rows, vocabulary]."""
        return self._head(hidden).float()


def _known(rows: Rows[Sequence], counts: Rows[int]) -> Tensor | None:
    """What the rows' trunks hold of the next tokens, [rows, q, d], padded behind; None at level 0."""
    known = [
        row.trunk[0].hidden[row.done : row.done + count]
        for row, count in zip(rows, counts, strict=True)
        if row.level and row.trunk is not None
    ]
    return torch.nn.utils.rnn.pad_sequence(known, batch_first=True) if known else None
