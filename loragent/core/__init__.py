"""Values, ports and errors; imports nothing of the other floors."""

from .errors import (
    BaseModelError,
    ContextOverflow,
    DataError,
    FetchError,
    GenerationError,
    LoragentError,
    PluginBusy,
    PluginError,
    PluginNotFound,
    PluginRefused,
    RoleError,
    TrainingError,
)
from .generation import GenerationRequest, Mounted, Reply, Usage, Use
from .message import Message, ToolCall, as_messages
from .ports import Generator

__all__ = [
    "BaseModelError",
    "ContextOverflow",
    "DataError",
    "FetchError",
    "GenerationError",
    "GenerationRequest",
    "Generator",
    "LoragentError",
    "Message",
    "Mounted",
    "PluginBusy",
    "PluginError",
    "PluginNotFound",
    "PluginRefused",
    "Reply",
    "RoleError",
    "ToolCall",
    "TrainingError",
    "Usage",
    "Use",
    "as_messages",
]
