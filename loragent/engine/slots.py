"""Residency: which plugins' weights are in memory, by the hash of their files."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable

from ..core import PluginRefused
from ..model import aside
from ..plugin import LoraWeights, Plugin, Shapes, load_weights
from .lora import Resident


class Slots:
    """Loads plugins at their first use and keeps them, least recently used out first.

    Loading happens beside the thread that computes: rows in flight go on meanwhile. Rows hold on to what they use, so
    a plugin may leave the slots while it answers.

    Args:
        shapes: the base's linear layers.
        base: the base's fingerprint.
        arrange: brings weights into the form and to the place where the engine multiplies with them.
        budget: bytes that all resident plugins may take together; a pinned one counts and stays.
    """

    def __init__(
        self, shapes: Shapes, base: str, arrange: Callable[[LoraWeights], Resident], budget: int = 1 << 30
    ) -> None:
        self._shapes, self._base, self._arrange, self._budget = shapes, base, arrange, budget
        self._resident: OrderedDict[str, Resident] = OrderedDict()
        self._pins: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.nbytes = 0

    def get(self, plugin: Plugin) -> Resident:
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
        return self._known(plugin.key) or aside(lambda: self._load(plugin))

    def pin(self, plugin: Plugin) -> None:
        """Keep a plugin resident until it was unpinned as often as pinned."""
        with self._lock:
            self._pins[plugin.key] += 1
        try:
            self.get(plugin)
        except BaseException:
            self.unpin(plugin)
            raise

    def unpin(self, plugin: Plugin) -> None:
        """Let a plugin go when room is needed."""
        with self._lock:
            self._pins[plugin.key] -= 1
            self._pins += Counter()  # drops what is not positive
            self._make_room()

    def _known(self, key: str) -> Resident | None:
        with self._lock:
            if key in self._resident:
                self._resident.move_to_end(key)
            return self._resident.get(key)

    def _load(self, plugin: Plugin) -> Resident:
        key = plugin.key
        if (known := self._known(key)) is not None:  # another caller wanted it too
            return known
        weights = self._arrange(load_weights(plugin.path, self._shapes, plugin.manifest))
        with self._lock:
            self._resident[key] = weights
            self.nbytes += weights.nbytes
            self._make_room(but=key)
        return weights

    def _make_room(self, but: str = "") -> None:
        if self.nbytes <= self._budget:
            return
        for key in [key for key in self._resident if key not in self._pins and key != but]:
            self.nbytes -= self._resident.pop(key).nbytes
            if self.nbytes <= self._budget:
                return
