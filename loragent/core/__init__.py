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
    MemoryFault,
    OutputInvalid,
    PluginBusy,
    PluginError,
    PluginNotFound,
    PluginRefused,
    RoleError,
    ToolError,
    ToolRefused,
    TrainingError,
)
from .generation import GenerationRequest, Mounted, Reply, RowScore, Usage, Use
from .limits import Limits
from .message import Message, ToolCall, as_messages
from .ports import Embedder, Generator
from .tool import NOT_SAID, ToolResult, ToolSchema, ordered, tool_schemas

__all__ = [
    "NOT_SAID",
    "BaseModelError",
    "ContextOverflow",
    "Curriculum",
    "DataError",
    "Embedder",
    "EngineBusy",
    "FetchError",
    "GenerationError",
    "GenerationRequest",
    "GenerationTimeout",
    "Generator",
    "Limits",
    "LoragentError",
    "MemoryFault",
    "Message",
    "Mounted",
    "OutputInvalid",
    "PluginBusy",
    "PluginError",
    "PluginNotFound",
    "PluginRefused",
    "Reply",
    "RoleError",
    "RowScore",
    "Teacher",
    "ToolCall",
    "ToolError",
    "ToolRefused",
    "ToolResult",
    "ToolSchema",
    "TrainingError",
    "TrainingRow",
    "Usage",
    "Use",
    "as_messages",
    "ordered",
    "tool_schemas",
]
