"""What a model is told of a tool, and what a call of it must look like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .errors import ToolRefused
from .message import Message, ToolCall

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
_KEYS_OF_SCHEMAS = ("properties", "$defs", "definitions", "patternProperties")  # whose keys are names, not keywords


class ToolSchema(BaseModel):
    """A tool as a model sees it.

    Attributes:
        name: by which it is called.
        description: what it is for.
        parameters: JSON Schema of its arguments, an object; titles are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: dict(_NO_ARGUMENTS))

    @field_validator("parameters", mode="after")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        schema: dict[str, Any] = _without_titles(value)
        return {"type": "object", "properties": {}, **schema}

    @property
    def digest(self) -> str:
        """sha256 of all of it, in hex: another name, description, parameter, or order of them is another tool."""
        text = json.dumps([self.name, self.description, _canonical(self.parameters)], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the arguments that every call has."""
        return tuple(self.parameters.get("required", ()))

    def to_wire(self) -> dict[str, Any]:
        """As OpenAI's API and most data sets write it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    @classmethod
    def of(cls, item: Any) -> ToolSchema:
        """From what users have: a schema, a langchain tool, or OpenAI's, Anthropic's and MCP's wire forms.

        Raises:
            ToolRefused: it is none of them.
        """
        if isinstance(item, ToolSchema):
            return item
        if isinstance(item, Mapping):
            return _from_wire(item)
        if not (hasattr(item, "name") and hasattr(item, "tool_call_schema")):
            raise ToolRefused(
                getattr(item, "__name__", type(item).__name__), "is no tool", "decorate the function with la.tool"
            )
        schema = item.tool_call_schema  # a pydantic class, or JSON Schema as it is
        parameters = schema if isinstance(schema, Mapping) else schema.model_json_schema()
        kept = {k: v for k, v in parameters.items() if k != "description"}  # the tool's own, said once
        return cls(name=item.name, description=item.description or "", parameters=kept)


NOT_SAID = "not said"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What became of a call.

    Attributes:
        content: what the model reads.
        error: the kind of error, empty if there was none: "unknown tool", "arguments", "not said", "not confirmed",
            "timeout", or the name of the exception that the tool raised.
        traceback: of that exception.
        seconds: what the call took, other attempts included.
        caller: the plugins that made the call, as ``hotel@1``; empty for the bare base.
    """

    call: ToolCall
    content: str
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0
    caller: str = ""

    def as_message(self) -> Message:
        """The result as the next turn of the conversation."""
        return Message(role="tool", name=self.call.name, content=self.content)


def tool_schemas(items: Sequence[Any]) -> tuple[ToolSchema, ...]:
    """Several of :meth:`ToolSchema.of`.

    Raises:
        ToolRefused: one is no tool, or two have the same name.
    """
    tools = tuple(ToolSchema.of(item) for item in items)
    names = [tool.name for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ToolRefused(twice, "two tools have this name", "rename one of them")
    return tools


def ordered(messages: Sequence[Message], tools: Mapping[str, ToolSchema]) -> tuple[Message, ...]:
    """Conversations whose calls keep to the tools' schemas in the order of what objects among their arguments hold, as
    answers have to. The arguments themselves stay as they are.
    """

    def sorted_call(call: ToolCall) -> ToolCall:
        tool = tools.get(call.name)
        if tool is None:
            return call
        fields = tool.parameters.get("properties", {})
        arguments = {name: _sorted(value, fields.get(name)) for name, value in call.arguments.items()}
        return call.model_copy(update={"arguments": arguments})

    return tuple(
        m.model_copy(update={"tool_calls": tuple(map(sorted_call, m.tool_calls))}) if m.tool_calls else m
        for m in messages
    )


def _sorted(value: Any, schema: Any) -> Any:
    if isinstance(value, list):
        items = schema.get("items") if isinstance(schema, Mapping) else None
        return [_sorted(item, items) for item in value]
    if not isinstance(value, Mapping):
        return value
    fields = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    keys = [*(key for key in fields if key in value), *(key for key in value if key not in fields)]
    return {key: _sorted(value[key], fields.get(key)) for key in keys}


def _from_wire(item: Mapping[str, Any]) -> ToolSchema:
    inner = item.get("function", item)
    inner = inner if isinstance(inner, Mapping) else {}
    parameters = next((inner[k] for k in ("parameters", "input_schema", "inputSchema") if inner.get(k)), _NO_ARGUMENTS)
    if not inner.get("name") or not isinstance(parameters, Mapping):
        raise ToolRefused(str(inner)[:60], "is no tool", "a tool has a name, a description and parameters")
    return ToolSchema(name=inner["name"], description=inner.get("description") or "", parameters=dict(parameters))


def _canonical(value: Any, *, names: bool = False) -> Any:
    """Keywords in the order of the alphabet; fields as they are, since calls name them in that order."""
    if isinstance(value, Mapping):
        keys = list(value) if names else sorted(value)
        return [[key, _canonical(value[key], names=not names and key == "properties")] for key in keys]
    return [_canonical(item) for item in value] if isinstance(value, list) else value


def _without_titles(schema: Any, *, names: bool = False) -> Any:
    """Pydantic writes a title beside every field, which says nothing that the field's name doesn't."""
    if isinstance(schema, Mapping):
        kept = {k: v for k, v in schema.items() if names or k != "title" or not isinstance(v, str)}
        return {k: _without_titles(v, names=not names and k in _KEYS_OF_SCHEMAS) for k, v in kept.items()}
    return [_without_titles(item) for item in schema] if isinstance(schema, list) else schema
