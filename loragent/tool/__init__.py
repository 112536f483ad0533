"""Tools: typed callables, calls that never break a conversation, and plugins that have learnt to make them."""

from .choose import Choice, plugin_for
from .define import ToolSettings, tool
from .expand import expand
from .mcp import MCPTools, mcp_tools
from .run import Confirm, Toolbox
from .skill import PluginTool, plugin_tool
from .spec import Toolset, load_tools, load_toolset
from .train import tool_rows, train_tools

__all__ = [
    "Choice",
    "Confirm",
    "MCPTools",
    "PluginTool",
    "ToolSettings",
    "Toolbox",
    "Toolset",
    "expand",
    "load_tools",
    "load_toolset",
    "mcp_tools",
    "plugin_for",
    "plugin_tool",
    "tool",
    "tool_rows",
    "train_tools",
]
