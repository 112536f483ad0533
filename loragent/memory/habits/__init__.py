"""How users want to be answered: told as facts, taught as answers, on top of whoever answers them."""

from .manners import Manners
from .voice import Scene, Voice

__all__ = ["Manners", "Scene", "Voice"]
