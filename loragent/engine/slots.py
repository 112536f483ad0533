"""Residency: which plugins' weights are in memory, by the hash of their file."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch

from ..core import PluginRefused
from ..model import compute
from ..plugin import LoraPair, LoraWeights, Plugin, Shapes, load_weights


class Slots:
    """Loads plugins at their first use and keeps them, least recently used out first.

    Args:
        shapes: the base's linear layers.
        base: the base's fingerprint.
        budget: bytes that all resident plugins may take together.
    """

    def __init__(
        self, shapes: Shapes, base: str, device: torch.device, dtype: torch.dtype, budget: int = 1 << 30
    ) -> None:
        self._shapes, self._base = shapes, base
        self._device, self._dtype, self._budget = device, dtype, budget
        self._resident: OrderedDict[str, LoraWeights] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, plugin: Plugin) -> LoraWeights:
        """The plugin's weights on the device. Called on the caller's thread, never on the engine's.

        Raises:
            PluginRefused: made for another base, or unreadable; see :func:`load_weights`.
        """
        made_for = plugin.manifest.base
        if made_for and made_for != self._base:
            raise PluginRefused(
                "base",
                f"{plugin} was made for {made_for}, this base is {self._base}",
                "load the base it was trained on",
            )
        key = plugin.key
        with self._lock:
            if key in self._resident:
                self._resident.move_to_end(key)
                return self._resident[key]
        weights = compute(lambda: self._place(load_weights(plugin.path, self._shapes, plugin.manifest)))
        with self._lock:
            self._resident[key] = weights
            while len(self._resident) > 1 and sum(w.nbytes for w in self._resident.values()) > self._budget:
                self._resident.popitem(last=False)
        return weights

    def _place(self, weights: LoraWeights) -> LoraWeights:
        return LoraWeights(
            {
                name: LoraPair(p.a.to(self._device, self._dtype), p.b.to(self._device, self._dtype), p.scaling)
                for name, p in weights.pairs.items()
            }
        )
