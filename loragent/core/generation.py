"""What is asked of a generator and what comes back: plain frozen values, no behaviour."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import OutputInvalid
from .message import Message, ToolCall, as_messages
from .tool import NOT_SAID, ToolResult, ToolSchema, tool_schemas


class Use(BaseModel):
    """One plugin on a row, with its own scale.

    Attributes:
        plugin: a name, ``"name@version"`` or the path of a PEFT folder.
        scale: multiplies the plugin's own ``alpha / r``; 1.0 is as trained.
        after: how many messages of the conversation it does not apply to. What was read without it before need not be
            read again (an activated LoRA: Greenewald et al. 2025, arXiv 2504.12397).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plugin: str
    scale: float = Field(default=1.0, allow_inf_nan=False)
    after: int = Field(default=0, ge=0)

    def __init__(self, plugin: str | Path, **fields: Any) -> None:
        super().__init__(plugin=str(plugin), **fields)


class GenerationRequest(BaseModel):
    """One row for the engine.

    Attributes:
        messages: the conversation; the answer is the next assistant turn.
        stack: the plugins on this row, in order; empty is the bare base.
        tools: what the answer may call: langchain tools or schemas. The prompt tells of those that no plugin of the
            stack has learnt. A call is always valid against its schema.
        tool_choice: "auto" leaves it to the model, "none" forbids calls, "required" or a tool's name asks for one.
        parallel_calls: whether an answer may hold more than one call.
        output: a pydantic model or a JSON Schema, which an answer in words then has to be valid against.
        max_tokens: upper bound of the answer, in tokens, end-of-turn included.
        min_tokens: end-of-turn is masked until that many tokens are out.
        temperature: 0 is greedy.
        top_p: nucleus mass kept (Holtzman et al. 2020); 1 keeps everything.
        stop: strings that end the answer; they are not part of it, and don't count in calls and typed results.
        seed: makes a sampled row repeatable, whatever else is in the batch.
        timeout: seconds from submission after which the row is given up; None for no limit.
        logprobs: whether the reply says how likely each of its tokens was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...]
    stack: tuple[Use, ...] = ()
    tools: tuple[ToolSchema, ...] = ()
    tool_choice: str = "auto"
    parallel_calls: bool = True
    output: type[BaseModel] | dict[str, Any] | None = None
    max_tokens: int = Field(default=256, ge=1)
    min_tokens: int = Field(default=0, ge=0)
    temperature: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    stop: tuple[str, ...] = ()
    seed: int | None = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    logprobs: bool = False

    def __init__(
        self, messages: str | Sequence[Message | Mapping[str, Any]] = (), stack: Sequence[Any] = (), **fields: Any
    ) -> None:
        super().__init__(messages=messages, stack=stack, **fields)

    @field_validator("messages", mode="before")
    @classmethod
    def _messages(cls, value: Any) -> tuple[Message, ...]:
        messages = as_messages(value)
        if not messages:
            raise ValueError("a request needs at least one message")
        return messages

    @field_validator("stack", mode="before")
    @classmethod
    def _stack(cls, value: Any) -> tuple[Use, ...]:
        entries = (value,) if isinstance(value, (str, Path, Use)) else tuple(value)
        return tuple(entry if isinstance(entry, Use) else Use(entry) for entry in entries)

    @model_validator(mode="after")
    def _after(self) -> GenerationRequest:
        for use in self.stack:
            if use.after > len(self.messages):
                raise ValueError(f"{use.plugin} is used after {use.after} messages, but there are {len(self.messages)}")
        return self

    @field_validator("tools", mode="before")
    @classmethod
    def _tools(cls, value: Any) -> tuple[ToolSchema, ...]:
        return tool_schemas(value or ())

    @model_validator(mode="after")
    def _choice(self) -> GenerationRequest:
        names = [tool.name for tool in self.tools]
        if self.tool_choice not in ("auto", "none", *(["required"] if names else []), *names):
            raise ValueError(f"tool_choice {self.tool_choice!r} is none of auto, none, required, {', '.join(names)}")
        return self

    @property
    def callable(self) -> tuple[ToolSchema, ...]:
        """The tools that this answer may call."""
        if self.tool_choice == "none":
            return ()
        return tuple(t for t in self.tools if self.tool_choice in ("auto", "required", t.name))

    @property
    def must_call(self) -> bool:
        """Whether the answer has to be a call."""
        return self.tool_choice not in ("auto", "none")

    def read(self, text: str) -> Any:
        """An answer as ``output``; None if that was not asked for.

        Raises:
            OutputInvalid: the pydantic model refuses it.
        """
        if self.output is None or isinstance(self.output, dict):
            return None if self.output is None else json.loads(text)
        try:
            return self.output.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise OutputInvalid(text, f"{place}: {first['msg']}" if place else str(first["msg"])) from error

    @field_validator("stop", mode="before")
    @classmethod
    def _stop(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Mounted:
    """A plugin as it answered: name, exact version, scale and the hash of its weights."""

    name: str
    version: int
    scale: float = 1.0
    sha256: str = ""

    def __str__(self) -> str:
        scale = "" if self.scale == 1.0 else f"*{self.scale:g}"
        return f"{self.name}@{self.version}{scale}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Cost of an answer: tokens, and milliseconds from submission."""

    prompt_tokens: int
    completion_tokens: int
    first_token_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class RowScore:
    """How likely a model finds the trained tokens of a row.

    Attributes:
        nll: summed negative log-likelihood, in nats.
        tokens: how many tokens were scored.
        hits: how many of them are what greedy decoding would take.
    """

    nll: float
    tokens: int
    hits: int


NO_USAGE = Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0.0, total_ms=0.0)


@dataclass(frozen=True, slots=True)
class Recall:
    """An answer from memory.

    Attributes:
        text: the answer; that nothing is known, if so.
        source: who answered: the plugin, the store, or nobody.
        confidence: 0 to 1.
        facts: ids of the records that it rests on.
        value: of the fact that it rests on, if that is one; who answers from it has to say that.
        version: of the plugin that answered.
        stack: that plugin.
        usage: tokens and milliseconds.
    """

    text: str
    source: Literal["plugin", "store", "none"]
    confidence: float = 0.0
    facts: tuple[int, ...] = ()
    version: str = ""
    stack: tuple[Mounted, ...] = ()
    usage: Usage = NO_USAGE
    value: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and who gave it.

    Attributes:
        text: the answer without tool-call markup.
        stack: the plugins that answered, with versions; of an agent's turn, those that called its tools behind them.
        usage: tokens and milliseconds.
        tool_calls: calls the answer makes; of an agent's turn, all that were made on the way.
        results: what became of those that the agent made.
        data: where ``output`` was asked for, the answer as that.
        recalls: what an agent's memory gave to the answer.
        noted: facts that an agent's memory keeps of what the user said, as lines.
        told: tools whose schemas were in the prompt, since no plugin of the stack has learnt them.
        finish: "stop" (end of turn or stop string), "length", "cancelled", or "max_calls" where an agent's turn had to
            be ended, since it went on calling tools.
        agent: name of the agent that spoke, empty straight from the engine.
        raw: the text as generated, markup included.
        token_ids: the same, end-of-turn included.
        logprobs: of each token, if that was asked for: its log-probability in nats, at temperature 1, among the tokens
            that the answer's form allowed in its place.
    """

    text: str
    stack: tuple[Mounted, ...]
    usage: Usage
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str = "stop"
    agent: str = ""
    raw: str = ""
    results: tuple[ToolResult, ...] = ()
    data: Any = None
    recalls: tuple[Recall, ...] = ()
    noted: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = field(default=(), repr=False)
    logprobs: tuple[float, ...] = field(default=(), repr=False)

    def as_messages(self) -> tuple[Message, ...]:
        """What the reply adds to a conversation: calls that were made, their results, and the answer."""
        made = [result for result in self.results if result.error != NOT_SAID]
        calls = [Message(role="assistant", tool_calls=(r.call,), name=self.agent or None) for r in made]
        results = [result.as_message() for result in made]
        pairs = (message for pair in zip(calls, results, strict=True) for message in pair)
        return (*pairs, self.as_message())

    def as_message(self) -> Message:
        """The reply as the next turn of the conversation, without calls that were answered on the way to it."""
        made = [result.call for result in self.results]
        open_calls = tuple(call for call in self.tool_calls if call not in made)
        return Message(role="assistant", content=self.text, tool_calls=open_calls, name=self.agent or None)
