"""Answers go first: a training step lets them pass between its layers, forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ..model import breathe


def let_answers_pass(layers: Iterable[nn.Module]) -> None:
    """Make the layers of a twin breathe before they compute, and after their backward pass.

    Without, a token waits for a whole micro-step, which takes a second where a token takes a hundredth.
    """
    for layer in layers:
        layer.register_forward_pre_hook(_before)


def pause(x: Tensor) -> None:
    """Breathe now, and once more when the gradient of x is known."""
    breathe()
    if x.requires_grad:
        x.register_hook(_behind)  # type: ignore[no-untyped-call]


def _before(layer: nn.Module, args: tuple[Any, ...]) -> None:
    del layer
    if args and isinstance(args[0], Tensor):
        pause(args[0])


def _behind(grad: Tensor) -> None:
    del grad
    breathe()
