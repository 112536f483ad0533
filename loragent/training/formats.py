"""Training data as people bring it: JSONL in ``messages``, ShareGPT, Alpaca or prompt/completion form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..core import DataError, Message, ToolRefused, ToolSchema, as_messages, ordered, tool_schemas

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """One usable row: its line (1-based), its conversation and all its fields."""

    line: int
    messages: tuple[Message, ...]
    raw: Raw

    @property
    def tools(self) -> tuple[ToolSchema, ...]:
        """The tools that the row brings, for its prompt to tell of."""
        return tool_schemas(self.raw.get("tools") or ())


@dataclass(slots=True)
class Scan:
    """All that a data file holds.

    Attributes:
        formats: how many rows came in which form.
        problems: line -> why that row is unusable.
        duplicates: line -> the earlier line with the same conversation.
    """

    path: Path
    examples: list[Example] = field(default_factory=list)
    formats: dict[str, int] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    duplicates: dict[int, int] = field(default_factory=dict)
    sha256: str = ""


def read_examples(path: str | Path) -> list[Example]:
    """All rows of a file, none left out.

    Raises:
        DataError: the file is missing, empty or unreadable, or a row is unusable; names the first one.
    """
    scan = scan_file(path)
    if scan.problems:
        line, why = next(iter(scan.problems.items()))
        more = f" (and {len(scan.problems) - 1} more rows)" if len(scan.problems) > 1 else ""
        raise DataError(path, why + more, f"mend or remove it; `loragent data check {path}` shows every row", line)
    return scan.examples


def scan_file(path: str | Path) -> Scan:
    """Read a file row by row and note what can't be used.

    Raises:
        DataError: the file is missing, empty or unreadable.
    """
    scan = Scan(Path(path))
    text = _read(scan.path)
    scan.sha256 = hashlib.sha256(text.encode()).hexdigest()
    seen: dict[str, int] = {}
    for line, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            continue
        try:
            example, form = _parse(line, row)
        except ValidationError as error:
            detail = error.errors()[0]
            scan.problems[line] = f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            continue
        except ValueError as error:
            scan.problems[line] = str(error)
            continue
        scan.examples.append(example)
        scan.formats[form] = scan.formats.get(form, 0) + 1
        first = seen.setdefault("".join(m.model_dump_json() for m in example.messages), line)
        if first != line:
            scan.duplicates[line] = first
    if not scan.examples and not scan.problems:
        raise DataError(path, "holds no rows", 'write one JSON object a line, for instance {"messages": [...]}')
    return scan


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(path, "no such file", "check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not UTF-8 (byte {error.start})", "save it as UTF-8") from error
    except OSError as error:
        raise DataError(path, f"can't be read ({error.strerror})", "check the path and its permissions") from error


def _parse(line: int, text: str) -> tuple[Example, str]:
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ValueError(f"broken JSON ({error})") from error
    if not isinstance(raw, dict):
        raise ValueError(f"is a {type(raw).__name__}, not an object")
    for form, (fields, convert) in _FORMS.items():
        if all(name in raw for name in fields):
            try:
                messages = convert(raw)
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{form} row with a missing or odd field ({error})") from error
            return _with_tools(Example(line, _checked(messages), raw)), form
    raise ValueError(f"of unknown form (fields: {', '.join(raw) or 'none'})")


def _checked(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    answers = [m for m in messages if m.role == "assistant" and m.trained]
    if not answers:
        raise ValueError("has no assistant turn to learn from")
    if not any(m.content.strip() or m.tool_calls for m in answers):
        raise ValueError("has only empty assistant turns")
    return messages


def _with_tools(example: Example) -> Example:
    """The row with its calls in the order in which they are asked for; see :func:`loragent.core.ordered`."""
    try:
        schemas = {tool.name: tool for tool in example.tools}
    except (ToolRefused, TypeError) as error:
        raise ValueError(f"tools: {error}") from error
    return replace(example, messages=ordered(example.messages, schemas)) if schemas else example


def _from_messages(raw: Raw) -> tuple[Message, ...]:
    return as_messages(raw["messages"])


_SHAREGPT = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
             "system": "system", "tool": "tool", "observation": "tool", "function_response": "tool"}  # fmt: skip


def _from_sharegpt(raw: Raw) -> tuple[Message, ...]:
    messages = [Message(role="system", content=raw["system"])] if raw.get("system") else []
    for turn in raw["conversations"]:
        speaker, value = turn["from"], turn["value"]
        if speaker == "function_call":
            messages.append(Message.from_wire({"role": "assistant", "tool_calls": [json.loads(value)]}))
        elif speaker in _SHAREGPT:
            messages.append(Message.from_wire({"role": _SHAREGPT[speaker], "content": value}))
        else:
            raise KeyError(f"unknown speaker {speaker!r}")
    return tuple(messages)


def _from_alpaca(raw: Raw) -> tuple[Message, ...]:
    question = raw["instruction"] + (f"\n\n{raw['input']}" if raw.get("input") else "")
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": raw["output"]}]
    for asked, answered in reversed(raw.get("history") or []):
        turns[:0] = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    if raw.get("system"):
        turns.insert(0, {"role": "system", "content": raw["system"]})
    return as_messages(turns)


def _from_prompt(raw: Raw) -> tuple[Message, ...]:
    prompt, completion = raw["prompt"], raw["completion"]
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion.strip()}]
    return (*as_messages(prompt), *as_messages(completion))


_FORMS: dict[str, tuple[tuple[str, ...], Callable[[Raw], tuple[Message, ...]]]] = {
    "messages": (("messages",), _from_messages),
    "sharegpt": (("conversations",), _from_sharegpt),
    "alpaca": (("instruction", "output"), _from_alpaca),
    "prompt/completion": (("prompt", "completion"), _from_prompt),
}
