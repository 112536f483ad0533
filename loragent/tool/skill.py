"""A plugin as a tool: a skill (summarise, extract, rewrite ...) that any agent may call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, PrivateAttr

from ..core import GenerationRequest, Generator, ToolError, Use


class _Text(BaseModel):
    text: str = Field(description="what to work on, word for word")


class PluginTool(BaseTool):
    """Made by :func:`plugin_tool`. A call is a row of its own, so skills of several agents decode in one batch.

    Attributes:
        plugin: the skill's stack entry.
        max_tokens: of its answer.
    """

    plugin: Use
    max_tokens: int = 160
    args_schema: type[BaseModel] = _Text
    _model: Generator | None = PrivateAttr(default=None)

    def on(self, model: Generator) -> PluginTool:
        """The same, on a base; an agent does this to its tools. One that has a base keeps it."""
        if self._model is not None:
            return self
        bound = self.model_copy()
        bound._model = model
        return bound

    def _run(self, text: str, **_: Any) -> str:
        if self._model is None:
            raise ToolError(f"{self.name} has no base", "give it to an agent, or say plugin_tool(..., base=base)")
        request = GenerationRequest(text, [self.plugin], max_tokens=self.max_tokens)
        return self._model.generate([request])[0].text


def plugin_tool(
    plugin: str | Path | Use,
    *,
    name: str | None = None,
    description: str | None = None,
    max_tokens: int = 160,
    base: Generator | None = None,
) -> PluginTool:
    """A plugin as a tool with one argument, the text that it works on.

    Args:
        plugin: a name, ``name@version``, a folder or a :class:`Use`.
        name: by default the plugin's.
        description: by default says that it applies the skill of that name.
        base: where it runs; by default on the base of the agent that gets it.
    """
    use = plugin if isinstance(plugin, Use) else Use(plugin)
    called = name or Path(use.plugin).name.partition("@")[0]
    about = description or f"Apply the skill {called} to a text."
    made = PluginTool(name=called, description=about, plugin=use, max_tokens=max_tokens)
    return made if base is None else made.on(base)
