"""How a CPU computes the default base fastest: measured once, for a fifth of a second, and remembered.

Remembered, since a machine that is busy may decide otherwise the next time, and the same question should get the same
answer.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ..model import compute, home, recall, remember
from .int8 import Int8
from .product import Dense, Product, has_onednn

FILE = "products.json"  # in LORAGENT_HOME: remove it to measure again
BY_ONEDNN = "float32 by oneDNN"
ROWS = (1, 16)  # one chat, and a full batch
SHAPES = ((960, 576), (3072, 576), (576, 1536))  # out and in of SmolLM2-135M's products
ROUNDS = 6  # the fastest counts: a machine that does something else as well slows any of them
LAYERS = 8  # copies, so that the weights don't stay in the nearest cache


def speeds() -> dict[str, float]:
    """Microseconds that the products of a layer take, by dtype (and by what); the mean over one row and sixteen."""
    file, machine = home() / FILE, " ".join(_machine())
    known = recall(file)
    if known.get("machine") == machine:
        return {str(name): float(time) for name, time in known["speeds"].items()}
    found: dict[str, float] = compute(_measure)
    remember(file, {"machine": machine, "speeds": found})
    return found


def _machine() -> list[str]:
    """What the speeds depend on; workers that sleep between products make small ones dearer."""
    waiting = os.environ.get("OMP_WAIT_POLICY", "")
    found = [platform.processor(), torch.__version__, torch.backends.cpu.get_cpu_capability(), waiting]
    return [*found, str(torch.get_num_threads()), *_makers()]


def fastest() -> str:
    """The dtype of :func:`speeds` that takes least time."""
    found = speeds()
    return min(found, key=found.__getitem__).partition(" ")[0]


def onednn_is_faster() -> bool:
    """Whether oneDNN multiplies float32 faster than what torch takes by itself."""
    found = speeds()
    return found.get(BY_ONEDNN, math.inf) < found["float32"]


def _makers() -> dict[str, tuple[torch.dtype, Callable[[Tensor], Product]]]:
    """What there is to choose from: the dtype of activations, and what makes a product of a weight."""
    makers: dict[str, tuple[torch.dtype, Callable[[Tensor], Product]]] = {
        "float32": (torch.float32, Dense),
        "bfloat16": (torch.bfloat16, lambda w: Dense(w.bfloat16())),
        "int8": (torch.float32, Int8),
    }
    if has_onednn():
        makers[BY_ONEDNN] = torch.float32, lambda w: Dense(w, onednn=True)
    return makers


@torch.inference_mode()
def _measure() -> dict[str, float]:
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(*shape, generator=random) for shape in SHAPES for _ in range(LAYERS)]
    found = {}
    for name, (dtype, make) in _makers().items():
        pairs = [
            (make(w), [torch.randn(rows, w.shape[1], generator=random).to(dtype) for rows in ROWS]) for w in weights
        ]
        found[name] = min(_round(pairs) for _ in range(ROUNDS)) / LAYERS / len(ROWS) * 1e6
    return found


def _round(pairs: list[tuple[Product, list[Tensor]]]) -> float:
    began = time.perf_counter()
    for product, inputs in pairs:
        for x in inputs:
            product(x)
    return time.perf_counter() - began
