"""A handful of examples as many rows: slots filled with typed values, other phrasings, slips of the finger.

An example is a line of JSON: what somebody says, or several ways of saying it, and the call or the words that it wants.
What stands in braces is a slot; a whole argument of a slot has the slot's type.

  {"say": ["a {room} from {arrival}", "do you have a {room} on {arrival}?"],
   "call": {"name": "availability", "arguments": {"room": "{room}", "arrival": "{arrival}"}}}
  {"say": "I'd like to book", "reply": "Gladly: from when, and for how many nights?"}
  {"messages": [...]}                                  a conversation of any length; slots in it are filled as well
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..core import DataError, Message, ToolSchema, as_messages, ordered
from ..engine import is_call_of
from ..training import Example
from .values import KINDS, Value, value_for

_SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")
_GREETINGS = ["Hi, ", "Hello! ", "Good morning, ", "Good evening. ", "Excuse me, ", "Hey, ", "One thing: ", "So, "]
_THANKS = [" Thanks!", " Thank you.", " Please.", " Cheers", " That would be great."]
GREETED, THANKED, HASTY, SLIPPED = 0.2, 0.15, 0.15, 0.1  # shares of the rows


@dataclass(frozen=True, slots=True)
class Template:
    """One line of ``examples.jsonl``: ways of saying it, and the conversation that each begins."""

    line: int
    ways: tuple[tuple[Mapping[str, Any], ...], ...]
    raw: Mapping[str, Any]

    @property
    def slots(self) -> list[str]:
        """Names of all slots, in the order of their first appearance."""
        return list(dict.fromkeys(_SLOT.findall(json.dumps(self.ways, ensure_ascii=False))))


def expand(
    path: Path, tools: Sequence[ToolSchema], values: Mapping[str, Any], copies: int, seed: int = 13
) -> list[Example]:
    """The rows of a file of examples: ``copies`` of each that has slots or ways of saying it, each once otherwise.

    Raises:
        DataError: a line is unusable, a slot has nothing to be filled with, or a call is not valid.
    """
    draw = random.Random(seed)
    schemas = {tool.name: tool for tool in tools}
    rows: dict[str, Example] = {}
    for template in read_templates(path):
        varied = bool(template.slots) or len(template.ways) > 1
        for n in range(copies if varied else 1):
            example = _filled(path, template, template.ways[n % len(template.ways)], schemas, values, draw, n > 0)
            rows.setdefault("".join(m.model_dump_json() for m in example.messages), example)
    return list(rows.values())


def read_templates(path: Path) -> list[Template]:
    """The lines of a file of examples.

    Raises:
        DataError: naming the first unusable line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"can't be read ({error})", "write a line of JSON for each example") from error
    found = [_template(path, line, row) for line, row in enumerate(text.split("\n"), start=1) if row.strip()]
    if not found:
        raise DataError(path, "holds no examples", 'write for instance {"say": "...", "call": {"name": "..."}}')
    return found


def _template(path: Path, line: int, text: str) -> Template:
    try:
        raw = json.loads(text)
        if "messages" in raw:
            return Template(line, (_plain(raw["messages"]),), raw)
        says = [raw["say"]] if isinstance(raw["say"], str) else list(raw["say"])
        calls = raw.get("call", [])
        answer = {"role": "assistant", "content": raw.get("reply", ""), "tool_calls": calls}
        if isinstance(calls, Mapping):
            answer["tool_calls"] = [calls]
        if not (answer["content"] or answer["tool_calls"]):
            raise KeyError("call or reply")
        return Template(line, tuple(_plain([{"role": "user", "content": say}, answer]) for say in says), raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(path, f"is no example ({error})", 'write "say" and "call" or "reply"', line) from error


def _plain(messages: Any) -> tuple[Mapping[str, Any], ...]:
    """One form of message, whichever they were written in."""
    return tuple(message.to_wire() for message in as_messages(messages))


def _filled(
    path: Path,
    template: Template,
    way: Sequence[Mapping[str, Any]],
    tools: Mapping[str, ToolSchema],
    values: Mapping[str, Any],
    draw: random.Random,
    vary: bool,
) -> Example:
    arguments = _arguments(way, tools)
    drawn: dict[str, Value] = {}
    for slot in template.slots:
        value = value_for(values.get(slot, slot if slot in KINDS else None), arguments.get(slot, {}), draw)
        if value is None:
            way_out = f"add [values] {slot} = [...] to toolset.toml, or one of {', '.join(KINDS)}"
            raise DataError(path, f"nothing to fill {{{slot}}} with", way_out, template.line)
        drawn[slot] = value
    first = True
    wire = []
    for message in way:
        content = str(message.get("content", ""))
        if message.get("role") == "user" and vary:
            content = _said_otherwise(content, draw, greet=first)
        first = first and message.get("role") != "user"
        wire.append(
            {**message, "content": _said(content, drawn), "tool_calls": _given(message.get("tool_calls"), drawn)}
        )
    try:
        messages = ordered(as_messages(wire), tools)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            path, f"is no conversation ({error})", "see the forms in tools/README.md", template.line
        ) from error
    _check_calls(path, template.line, messages, tools)
    return Example(template.line, messages, template.raw)


def _arguments(way: Sequence[Mapping[str, Any]], tools: Mapping[str, ToolSchema]) -> dict[str, Mapping[str, Any]]:
    """Schemas of the slots that are whole arguments of a call."""
    found: dict[str, Mapping[str, Any]] = {}
    for message in way:
        for call in message.get("tool_calls") or ():
            inner = call.get("function", call)
            tool = tools.get(inner.get("name", ""))
            properties = tool.parameters.get("properties", {}) if tool is not None else {}
            for name, value in (inner.get("arguments") or {}).items():
                if isinstance(value, str) and (whole := _SLOT.fullmatch(value)):
                    found.setdefault(whole.group(1), properties.get(name, {}))
    return found


def _check_calls(path: Path, line: int, messages: Sequence[Message], tools: Mapping[str, ToolSchema]) -> None:
    for call in (call for message in messages for call in message.tool_calls):
        if tools and call.name not in tools:
            raise DataError(path, f"there is no tool {call.name}", f"there are {', '.join(tools)}", line)
        if tools and not is_call_of(tools[call.name], call):
            raise DataError(path, f"{call.to_json()} is not valid against the schema of {call.name}", "mend it", line)


def _said(text: str, drawn: Mapping[str, Value]) -> str:
    return _SLOT.sub(lambda slot: drawn[slot.group(1)][0], text)


def _given(value: Any, drawn: Mapping[str, Value]) -> Any:
    if isinstance(value, str):
        whole = _SLOT.fullmatch(value)
        return drawn[whole.group(1)][1] if whole else _said(value, drawn)
    if isinstance(value, Mapping):
        return {key: _given(inner, drawn) for key, inner in value.items()}
    return [_given(inner, drawn) for inner in value] if isinstance(value, list) else value


def _said_otherwise(text: str, draw: random.Random, *, greet: bool) -> str:
    """The same with a greeting or thanks, or in a hurry; slots are never touched."""
    if greet and draw.random() < GREETED:
        greeting = draw.choice(_GREETINGS)
        text = greeting + (text[:1].lower() + text[1:] if greeting.endswith(", ") else text)
    if draw.random() < THANKED:
        text = text + draw.choice(_THANKS)
    if draw.random() < HASTY:
        text = _around_slots(text.rstrip(".!"), str.lower)
    if draw.random() < SLIPPED:
        text = _around_slots(text, lambda part: _slip(part, draw))
    return text


def _around_slots(text: str, change: Any) -> str:
    parts = re.split(r"(\{[A-Za-z_]\w*\})", text)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def _slip(text: str, draw: random.Random) -> str:
    """Two letters in a longer word exchanged, or one left out."""
    places = [m.start() for m in re.finditer(r"(?<=[a-z])[a-z](?=[a-z][a-z])", text)]
    if not places:
        return text
    at = draw.choice(places)
    if draw.random() < 0.5:
        return text[:at] + text[at + 1 :]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
