"""Where a role begins: a shipped plugin that can hold a task dialogue already, or any other plugin, or nothing."""

from __future__ import annotations

from ..base import Base
from ..core import PluginRefused
from ..plugin import Plugin, shipped


def starting_point(base: Base, start: str) -> Plugin | None:
    """The plugin that ``TrainSettings.start`` asks for; None begins with fresh adapters.

    "auto" is the shipped starter, where it was trained on this base. A plugin of another rank, or on other layers,
    gives what it has to the layers that are trained.

    Raises:
        PluginNotFound: no such plugin.
        PluginRefused: it was trained on another base.
    """
    if start == "none":
        return None
    if start == "auto":
        starter = shipped_starter()
        return starter if starter is not None and starter.manifest.base == base.fingerprint else None
    plugin = base.library.resolve(start)
    made_for = plugin.manifest.base
    if made_for and made_for != base.fingerprint:
        way_out = "start from a plugin of this base, or set start=none"
        raise PluginRefused("base", f"{plugin} was made for {made_for}, this base is {base.fingerprint}", way_out)
    return plugin


def shipped_starter() -> Plugin | None:
    """The starter that comes with loragent, if it is there."""
    return shipped("starter")
