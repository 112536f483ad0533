"""Values, ports and errors; imports nothing of the other floors."""

from .curriculum import Curriculum, Teacher, TrainingRow
from .errors import (
    BaseModelError,
    ContextOverflow,
    DataError,
    EngineBusy,
    FetchError,
    GenerationError,
    GenerationTimeout,
    LoragentError,
    PluginBusy,
    PluginError,
    PluginNotFound,
    PluginRefused,
    RoleError,
    TrainingError,
)
from .generation import GenerationRequest, Mounted, Reply, RowScore, Usage, Use
from .limits import Limits
from .message import Message, ToolCall, as_messages
from .ports import Generator

__all__ = [
    "BaseModelError",
    "ContextOverflow",
    "Curriculum",
    "DataError",
    "EngineBusy",
    "FetchError",
    "GenerationError",
    "GenerationRequest",
    "GenerationTimeout",
    "Generator",
    "Limits",
    "LoragentError",
    "Message",
    "Mounted",
    "PluginBusy",
    "PluginError",
    "PluginNotFound",
    "PluginRefused",
    "Reply",
    "RoleError",
    "RowScore",
    "Teacher",
    "ToolCall",
    "TrainingError",
    "TrainingRow",
    "Usage",
    "Use",
    "as_messages",
]
