"""Inference: rows with different stacks, decoded together on one shared base."""

from .engine import Engine
from .sequence import Sequence

__all__ = ["Engine", "Sequence"]
