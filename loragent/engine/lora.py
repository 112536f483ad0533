"""The maths of mixed stacks: one matrix pair a layer for the whole batch, whatever its rows carry.

For the distinct plugins of a batch, their A's and B's are concatenated along the rank axis, and

    y = W x + ((x A_cat^T) * M) B_cat                                       (mask-GEMM)

where row i of M holds ``scale * alpha / r`` over the rank columns of each plugin on row i, and 0
elsewhere. A stack of several plugins is several non-zero blocks in one row, and mixed ranks need no
padding. A base row adds exact zeros, so it is bit-identical to a base-only batch of the same shape.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..plugin import LoraWeights


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's share of a plan.

    Attributes:
        a: [in, R], R being the sum of ranks of the batch's distinct plugins that touch the layer.
        b: [R, out].
        mask: [rows, 1, R].
    """

    a: Tensor
    b: Tensor
    mask: Tensor


Plan = dict[str, Layer]  # by the layer's path; a layer that no plugin touches is absent


@dataclass(frozen=True, slots=True)
class Mount:
    """A resident plugin on a row: its identity, weights on the device and scale."""

    key: str
    weights: LoraWeights
    scale: float


Stack = tuple[Mount, ...]


class StackContext:
    """The plan of the step that runs now; every :class:`StackedLinear` of a model reads the same one."""

    def __init__(self) -> None:
        self.plan: Plan = {}


class StackedLinear(nn.Module):
    """A linear layer of the base, plus whatever the current plan adds to it."""

    def __init__(self, base: nn.Linear, name: str, context: StackContext) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self._name, self._context = name, context

    def forward(self, x: Tensor) -> Tensor:
        """x: [rows, tokens, in] -> [rows, tokens, out]."""
        y = F.linear(x, self.weight, self.bias)
        layer = self._context.plan.get(self._name)
        if layer is not None:
            y += ((x @ layer.a) * layer.mask) @ layer.b
        return y


def mount_layers(model: Any, names: Sequence[str], context: StackContext) -> None:
    """Replace the named linear layers of a (twin) model by :class:`StackedLinear`, in place."""
    for name in names:
        parent, _, child = name.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, child, StackedLinear(getattr(owner, child), name, context))


class Planner:
    """Builds plans, and keeps the latest: concatenating is due only when the batch's plugins change."""

    def __init__(self, keep: int = 8) -> None:
        self._keep = keep
        self._joined: OrderedDict[tuple[str, ...], dict[str, tuple[Tensor, Tensor, list[tuple[str, int, float]]]]] = (
            OrderedDict()
        )
        self._plans: OrderedDict[tuple[tuple[tuple[str, float], ...], ...], Plan] = OrderedDict()

    def plan(self, stacks: Sequence[Stack]) -> Plan:
        """The plan for a batch whose row i carries ``stacks[i]``."""
        key = tuple(tuple((m.key, m.scale) for m in stack) for stack in stacks)
        if key not in self._plans:
            self._plans[key] = self._build(stacks)
            _trim(self._plans, self._keep)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _build(self, stacks: Sequence[Stack]) -> Plan:
        distinct = {m.key: m for stack in stacks for m in stack}
        if not distinct:
            return {}
        joined = self._join([distinct[key] for key in sorted(distinct)])
        plan: Plan = {}
        for name, (a, b, blocks) in joined.items():
            mask = torch.tensor([_mask_row(stack, blocks) for stack in stacks], dtype=a.dtype, device=a.device)
            plan[name] = Layer(a, b, mask.unsqueeze(1))
        return plan

    def _join(self, mounts: Sequence[Mount]) -> dict[str, tuple[Tensor, Tensor, list[tuple[str, int, float]]]]:
        key = tuple(m.key for m in mounts)
        if key not in self._joined:
            names = dict.fromkeys(name for m in mounts for name in m.weights.pairs)
            self._joined[key] = {name: _concatenate(name, mounts) for name in names}
            _trim(self._joined, self._keep)
        self._joined.move_to_end(key)
        return self._joined[key]


def _concatenate(name: str, mounts: Sequence[Mount]) -> tuple[Tensor, Tensor, list[tuple[str, int, float]]]:
    """A_cat^T [in, R], B_cat [R, out], and the blocks (plugin, rank, alpha / r) along R."""
    present = [(m.key, m.weights.pairs[name]) for m in mounts if name in m.weights.pairs]
    a = torch.cat([pair.a for _, pair in present]).T.contiguous()
    b = torch.cat([pair.b.T for _, pair in present]).contiguous()
    return a, b, [(key, pair.a.shape[0], pair.scaling) for key, pair in present]


def _mask_row(stack: Stack, blocks: Sequence[tuple[str, int, float]]) -> list[float]:
    scales: dict[str, float] = {}
    for mount in stack:  # the same plugin twice on a row adds up, as the sum of its updates does
        scales[mount.key] = scales.get(mount.key, 0.0) + mount.scale
    return [scales.get(key, 0.0) * scaling for key, rank, scaling in blocks for _ in range(rank)]


def _trim(kept: OrderedDict[Any, Any], limit: int) -> None:
    while len(kept) > limit:
        kept.popitem(last=False)
