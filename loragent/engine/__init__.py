"""Inference: rows with different stacks, decoded together on one shared base."""

from .choice import fastest, speeds
from .engine import Engine
from .grammar import is_call_of
from .sequence import Sequence

__all__ = ["Engine", "Sequence", "fastest", "is_call_of", "speeds"]
