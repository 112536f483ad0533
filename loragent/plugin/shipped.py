"""Plugins that come with loragent."""

from __future__ import annotations

from pathlib import Path

from .shelf import Plugin, Shelf

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(name: str) -> Plugin | None:
    """One of them, from the wheel or from the clone; None if it isn't there."""
    places = (_PACKAGE / name, _PACKAGE.parent / "roles" / name / "plugin")
    return next((shelf.get() for shelf in map(Shelf, places) if shelf.exists()), None)
