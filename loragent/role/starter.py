"""Where a role begins: a shipped plugin that can hold a task dialogue already, or any other plugin, or nothing."""

from __future__ import annotations

from pathlib import Path

from ..base import Base
from ..core import PluginRefused
from ..plugin import Plugin, Shelf
from ..training import TrainSettings

_PACKAGE = Path(__file__).resolve().parent.parent
PLACES = (_PACKAGE / "starter", _PACKAGE.parent / "roles" / "starter" / "plugin")  # in a wheel, in a clone
SHAPE = ("rank", "alpha", "layers", "variant")  # settings that say which matrices there are, and their scaling


def starting_point(base: Base, settings: TrainSettings) -> Plugin | None:
    """The plugin that ``settings.start`` asks for; None begins with fresh adapters.

    "auto" is the shipped starter, where it was trained on this base and in the shape that is asked for.

    Raises:
        PluginNotFound: no such plugin.
        PluginRefused: it was trained on another base, or in another shape.
    """
    if settings.start == "none":
        return None
    if settings.start == "auto":
        starter = shipped_starter()
        return starter if starter is not None and _misfit(starter, base, settings) is None else None
    plugin = base.library.resolve(settings.start)
    if refused := _misfit(plugin, base, settings):
        raise refused
    return plugin


def shipped_starter() -> Plugin | None:
    """The starter that comes with loragent, if it is there."""
    shelves = (Shelf(place) for place in PLACES)
    return next((shelf.get() for shelf in shelves if shelf.exists()), None)


def _misfit(plugin: Plugin, base: Base, settings: TrainSettings) -> PluginRefused | None:
    """Why training can't continue from a plugin; what its manifest doesn't say is found out when it is loaded."""
    made_for = plugin.manifest.base
    if made_for and made_for != base.fingerprint:
        way_out = "start from a plugin of this base, or set start=none"
        return PluginRefused("base", f"{plugin} was made for {made_for}, this base is {base.fingerprint}", way_out)
    wanted = settings.model_dump()
    for field in SHAPE:
        had = plugin.manifest.settings.get(field, wanted[field])
        if had != wanted[field]:
            way_out = f"set {field}={had}, or start=none"
            return PluginRefused(field, f"{plugin} has {had}, {wanted[field]} is asked for", way_out)
    return None
