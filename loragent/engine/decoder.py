"""The decoder of any base, as transformers runs it, with whatever a plan adds to its linear layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from .cache import CacheView
from .lora import Fan, Plan, Update
from .product import Product


@dataclass(slots=True)
class Pass:
    """What one forward pass reads, which layers it runs, and what it leaves behind.

    Attributes:
        ids: [rows, q].
        positions: [rows, q].
        mask: [rows, 1, q, k], True where attended; None is causal.
        cache: where keys and values go, and those of earlier tokens come from; None for none.
        level: the first layer that runs; below it all is known.
        hidden: [rows, q, d], what that layer reads; None for the tokens' embeddings, at level 0.
        taps: by level, what its layer reads, [rows, q, d]: filled by the pass, from ``level`` on.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor | None = None
    cache: CacheView | None = None
    level: int = 0
    hidden: Tensor | None = None
    taps: dict[int, Tensor | None] = field(default_factory=dict)


class Decoder(Protocol):
    """Tokens to hidden states.

    Attributes:
        fans: its linear layers, those that read the same input together.
    """

    fans: Sequence[Fan]

    def level(self, name: str) -> int:
        """Which layer a linear layer is in; 0 if this decoder can't begin a pass above the first."""
        ...

    def __call__(self, plan: Plan, step: Pass) -> Tensor:
        """One forward pass with what the plugins add -> [rows, q, d], behind the last norm."""
        ...


class StackedLinear(nn.Module):
    """A linear layer of the base, plus whatever the current plan adds to it."""

    def __init__(self, product: Product, fan: Fan, current: Plan) -> None:
        super().__init__()
        self._product, self._fan, self._current = product, fan, current

    def forward(self, x: Tensor) -> Tensor:
        """x: [rows, tokens, in] -> [rows, tokens, out]."""
        flat = x.reshape(-1, x.shape[-1])
        y = self._product(flat)
        update = self._current.get(self._fan)
        if update is not None:
            update.add_to([y], flat)
        return y.view(*x.shape[:-1], -1)


class StockDecoder:
    """transformers' own forward pass over a twin whose linear layers are :class:`StackedLinear`."""

    def __init__(self, twin: Any, names: Sequence[str], product: Callable[[Fan], Product]) -> None:
        self.fans: Sequence[Fan] = [(name,) for name in names]
        self._decoder = twin.get_decoder()
        self._current: dict[Fan, Update] = {}  # the plan of the pass that runs now, which every layer reads
        for name in names:
            owner, _, child = name.rpartition(".")
            parent = twin.get_submodule(owner)
            setattr(parent, child, StackedLinear(product((name,)), (name,), self._current))

    def level(self, name: str) -> int:
        """See :class:`Decoder`."""
        del name
        return 0

    def __call__(self, plan: Plan, step: Pass) -> Tensor:
        """See :class:`Decoder`."""
        self._current.clear()
        self._current.update(plan)
        output = self._decoder(
            input_ids=step.ids,
            position_ids=step.positions,
            attention_mask=step.mask,
            past_key_values=step.cache,
            use_cache=step.cache is not None,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
