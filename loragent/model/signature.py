"""Tools as text in a prompt: shorter than their JSON Schema, and what plugins are trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core import Message, ToolSchema

_HOW = (
    'To use a tool, answer with <tool_call>{"name": ..., "arguments": {...}}</tool_call>. '
    "If none fits, answer in words."
)
_DEEPEST = 4  # levels of nested objects that are written out


def with_tools(messages: Sequence[Message], tools: Sequence[ToolSchema]) -> tuple[Message, ...]:
    """The conversation with the tools in its system message, or in one of their own in front."""
    if not tools:
        return tuple(messages)
    text = "\n\n".join([_HOW, *map(tool_text, tools)])
    if messages and messages[0].role == "system":
        first = messages[0].model_copy(update={"content": f"{messages[0].content}\n\n{text}"})
        return (first, *messages[1:])
    return (Message(role="system", content=text), *messages)


def tool_text(tool: ToolSchema) -> str:
    """A tool's name and purpose, and a line for each argument."""
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    definitions = {**tool.parameters.get("definitions", {}), **tool.parameters.get("$defs", {})}
    lines = [f"{tool.name}: {_line(tool.description)}" if tool.description else tool.name]
    for name, schema in properties.items():
        optional = "" if name in tool.required else ", optional"
        about = _line(str(schema.get("description", "")) if isinstance(schema, Mapping) else "")
        lines.append(f"- {name} ({_type(schema, definitions)}{optional})" + (f": {about}" if about else ""))
    return "\n".join(lines)


def _type(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> str:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return "any"
    if "$ref" in schema:
        return _type(definitions.get(str(schema["$ref"]).rpartition("/")[2]), definitions, depth + 1)
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = [_type(one, definitions, depth) for one in schema[several]]
            return " | ".join(kind for kind in dict.fromkeys(kinds) if kind != "null")
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " | ".join(k for k in kind if k != "null")
    if kind == "array":
        return f"list of {_type(schema.get('items'), definitions, depth)}"
    if kind == "object" and schema.get("properties"):
        fields = (f"{k}: {_type(v, definitions, depth + 1)}" for k, v in schema["properties"].items())
        return "{" + ", ".join(fields) + "}"
    return str(schema.get("format") or kind)


def _line(text: str) -> str:
    return " ".join(text.split())
