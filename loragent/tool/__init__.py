"""Tools: typed callables, what a model is told of them, and calls that never break a conversation."""

from .define import ToolSettings, tool
from .run import Confirm, Toolbox

__all__ = ["Confirm", "ToolSettings", "Toolbox", "tool"]
