"""Messages and tool calls: what a conversation is made of, for training and for inference alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MessageRole = Literal["system", "user", "assistant", "tool"]


class ToolCall(BaseModel):
    """One call of a tool: its name and its arguments by name."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)

    @field_validator("arguments", mode="before")
    @classmethod
    def _parse_json(cls, value: Any) -> Any:
        # OpenAI's wire format carries the arguments as a JSON string.
        return json.loads(value) if isinstance(value, str) else value

    @classmethod
    def from_wire(cls, call: Mapping[str, Any]) -> ToolCall:
        """From OpenAI's ``{"function": {"name", "arguments"}}`` or the bare ``{"name", "arguments"}``."""
        inner = call.get("function", call)
        return cls(name=inner["name"], arguments=inner.get("arguments") or {})

    def to_json(self) -> str:
        """The canonical text a model is trained to write and parsed from: one line of JSON."""
        return json.dumps({"name": self.name, "arguments": self.arguments}, ensure_ascii=False)


class Message(BaseModel):
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        content: the text; empty for a turn that only calls tools.
        tool_calls: calls made by an assistant turn.
        name: the tool that answers (role "tool") or the agent that spoke (role "assistant").
        trained: False keeps an assistant turn as context without a loss on it (a colleague's turn).
    """

    model_config = ConfigDict(frozen=True)

    role: MessageRole
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    name: str | None = None
    trained: bool = True

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Message:
        """From a row of ``messages`` as TRL and OpenAI write it; ``"weight": 0`` means not trained.

        Raises:
            ValueError: a field is missing or of the wrong type (pydantic's message names it).
        """
        content = raw.get("content")
        if isinstance(content, Sequence) and not isinstance(content, str):
            content = "".join(part.get("text", "") for part in content)
        return cls(
            role=raw["role"],
            content=content or "",
            tool_calls=tuple(ToolCall.from_wire(c) for c in raw.get("tool_calls") or ()),
            name=raw.get("name"),
            trained=raw.get("weight", 1) != 0,
        )

    def to_wire(self) -> dict[str, Any]:
        """The row form that :meth:`from_wire` reads, without empty fields."""
        wire: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            wire["tool_calls"] = [
                {"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in self.tool_calls
            ]
        if self.name is not None:
            wire["name"] = self.name
        if not self.trained:
            wire["weight"] = 0
        return wire


def as_messages(items: str | Sequence[Message | Mapping[str, Any]]) -> tuple[Message, ...]:
    """Accept what users write: one string, wire dicts or messages."""
    if isinstance(items, str):
        return (Message(role="user", content=items),)
    return tuple(m if isinstance(m, Message) else Message.from_wire(m) for m in items)
