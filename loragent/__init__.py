"""Agents whose role, tools and memory are LoRA plugins on one shared base model.

import loragent as la

base = la.Base.load()
agent = la.Agent("concierge", base=base, role="roles/concierge")
print(agent.run("When is breakfast on Sunday?").text)
"""

from .agent import Agent, Entry, Session, SessionResult
from .base import Base
from .core import (
    BaseModelError,
    ContextOverflow,
    DataError,
    EngineBusy,
    FetchError,
    GenerationError,
    GenerationRequest,
    GenerationTimeout,
    Limits,
    LoragentError,
    MemoryFault,
    Message,
    Mounted,
    OutputInvalid,
    PluginBusy,
    PluginError,
    PluginNotFound,
    PluginRefused,
    Recall,
    Reply,
    RoleError,
    ToolCall,
    ToolError,
    ToolRefused,
    ToolResult,
    ToolSchema,
    TrainingError,
    Usage,
    Use,
)
from .learning import Report
from .memory import QA, Fact, Memory, Night, Note, Record
from .plugin import Library, Manifest, Plugin
from .role import train_role
from .tool import MCPTools, ToolSettings, load_tools, mcp_tools, plugin_tool, tool, train_tools

__version__ = "0.1.0"

__all__ = [
    "QA",
    "Agent",
    "Base",
    "BaseModelError",
    "ContextOverflow",
    "DataError",
    "EngineBusy",
    "Entry",
    "Fact",
    "FetchError",
    "GenerationError",
    "GenerationRequest",
    "GenerationTimeout",
    "Library",
    "Limits",
    "LoragentError",
    "MCPTools",
    "Manifest",
    "Memory",
    "MemoryFault",
    "Message",
    "Mounted",
    "Night",
    "Note",
    "OutputInvalid",
    "Plugin",
    "PluginBusy",
    "PluginError",
    "PluginNotFound",
    "PluginRefused",
    "Recall",
    "Record",
    "Reply",
    "Report",
    "RoleError",
    "Session",
    "SessionResult",
    "ToolCall",
    "ToolError",
    "ToolRefused",
    "ToolResult",
    "ToolSchema",
    "ToolSettings",
    "TrainingError",
    "Usage",
    "Use",
    "__version__",
    "load_tools",
    "mcp_tools",
    "plugin_tool",
    "tool",
    "train_role",
    "train_tools",
]
