"""Many tools with a few requests each, as conversations that tell of some of them: for a plugin that reads schemas.

A line of ``catalogue.jsonl``:

  {"tool": {"name": ..., "description": ..., "parameters": {...}},
   "requests": [{"say": "...", "arguments": {...}}, ...],
   "near": ["a request from the same field that the tool can't serve", ...]}
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..core import DataError, Message, ToolCall, ToolRefused, ToolSchema, ordered
from ..engine import is_call_of
from ..training import Example

NO_TOOL = "I can't do that with the tools that I have."
REQUESTS = 120  # of a tool that has very many: more would teach it rather than how to read
SHOWN = 4  # tools of a conversation, at most
TWO = 0.2  # share of requests that come together with the next one
FOREIGN = 0.25  # share of requests behind which comes one of a tool that is not there
WITHOUT = 0.25  # share of conversations that come once more without the tools that they call


@dataclass(frozen=True, slots=True)
class Entry:
    """A tool, requests with the arguments that they want, and requests that it can't serve."""

    tool: ToolSchema
    requests: tuple[tuple[str, dict[str, Any]], ...]
    near: tuple[str, ...]


def read_catalogue(path: Path) -> list[Entry]:
    """All tools of a file.

    Raises:
        DataError: a line is no entry, or the arguments of a request are not valid; it names the line.
    """
    entries = []
    for line, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not text.strip():
            continue
        try:
            raw = json.loads(text)
            entry = Entry(
                ToolSchema.of(raw["tool"]),
                tuple((str(r["say"]), dict(r["arguments"])) for r in raw["requests"]),
                tuple(map(str, raw.get("near", ()))),
            )
        except (ValueError, KeyError, TypeError, ToolRefused) as error:
            raise DataError(path, f"is no entry ({error})", "see loragent.tool.catalogue", line) from error
        if not entry.requests:
            raise DataError(path, f"{entry.tool.name} has no requests", "write some", line)
        for say, arguments in entry.requests:
            if not is_call_of(entry.tool, _call(entry.tool, arguments)):
                raise DataError(path, f"{say!r}: {arguments} are no arguments of {entry.tool.name}", "mend them", line)
        entries.append(entry)
    if not entries:
        raise DataError(path, "holds no tools", "see loragent.tool.catalogue")
    return entries


def entries_of(rows: Iterable[Example], tools: Sequence[ToolSchema]) -> list[Entry]:
    """What conversations about few tools say of each: requests that one call serves, up to :data:`REQUESTS` a tool."""
    known = {tool.name: tool for tool in tools}
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for row in rows:
        for asked, answer in pairwise(row.messages):
            if asked.role != "user" or len(answer.tool_calls) != 1:
                continue
            (call,) = answer.tool_calls
            requests = found.setdefault(call.name, [])
            if call.name in known and len(requests) < REQUESTS and is_call_of(known[call.name], call):
                requests.append((asked.content, dict(call.arguments)))
    return [Entry(known[name], tuple(requests), ()) for name, requests in sorted(found.items()) if requests]


def catalogue_rows(entries: Sequence[Entry], seed: int = 13) -> list[Example]:
    """All requests, in conversations that tell of a few tools and ask for each of them once.

    A conversation shares what its tools cost over its turns. Some turns ask for two things at a time, some for what
    none of the tools can do: what is near to one of them, or another tool's.
    """
    draw = random.Random(seed)
    rows: list[Example] = []
    for turn in range(max(len(entry.requests) for entry in entries)):
        for group in _groups(entries, mixed=turn % 2 == 1, draw=draw):
            asked = [_Asked(*e.requests[turn % len(e.requests)], e.tool) for e in group]
            turns = _in_pairs(asked, draw)
            for entry in group:
                if turn < len(entry.near):
                    turns.append([_Asked(entry.near[turn])])
            names = {entry.tool.name for entry in group}
            for other in draw.sample(list(entries), k=sum(draw.random() < FOREIGN for _ in group)):
                if other.tool.name not in names:
                    turns.append([_Asked(draw.choice(other.requests)[0])])
            draw.shuffle(turns)
            rows.append(_row(turns, draw.sample([e.tool for e in group], k=len(group)), draw))
    return rows


def and_without(rows: Iterable[Example], seed: int = 13) -> list[Example]:
    """The rows, and some of them once more without the tools that they call: what is left can't serve them."""
    draw = random.Random(seed)
    found: list[Example] = []
    for row in rows:
        found.append(row)
        called = {call.name for message in row.messages for call in message.tool_calls}
        left = [tool for tool in row.tools if tool.name not in called]
        if called and left and draw.random() < WITHOUT:
            asked = next(i for i, m in enumerate(row.messages) if m.tool_calls)
            messages = (*row.messages[:asked], Message(role="assistant", content=NO_TOOL))
            raw = {**row.raw, "tools": [tool.to_wire() for tool in left]}
            found.append(replace(row, messages=messages, raw=raw))
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """Something to ask for; without a tool nothing that is there can do it."""

    say: str
    arguments: dict[str, Any] | None = None
    tool: ToolSchema | None = None


def _groups(entries: Sequence[Entry], *, mixed: bool, draw: random.Random) -> Iterable[list[Entry]]:
    """A few tools at a time, each once: of one field, as they stand side by side, or mixed."""
    left = draw.sample(list(entries), k=len(entries)) if mixed else list(entries)
    while left:
        size = draw.randint(1, SHOWN)
        yield left[:size]
        left = left[size:]


def _in_pairs(asked: Sequence[_Asked], draw: random.Random) -> list[list[_Asked]]:
    turns: list[list[_Asked]] = []
    for one in asked:
        if turns and len(turns[-1]) == 1 and draw.random() < TWO:
            turns[-1].append(one)
        else:
            turns.append([one])
    return turns


def _row(turns: Sequence[Sequence[_Asked]], tools: Sequence[ToolSchema], draw: random.Random) -> Example:
    messages: list[Message] = []
    for turn in turns:
        text = turn[0].say
        for more in turn[1:]:
            text = f"{text} {draw.choice(['Also:', 'And then:', 'And', 'Then'])} {more.say}"
        calls = tuple(_call(a.tool, a.arguments or {}) for a in turn if a.tool is not None)
        answer = Message(role="assistant", content="" if calls else NO_TOOL, tool_calls=calls)
        messages += [Message(role="user", content=text), answer]
    return Example(0, tuple(messages), {"tools": [tool.to_wire() for tool in tools]})


def _call(tool: ToolSchema, arguments: dict[str, Any]) -> ToolCall:
    message = Message(role="assistant", tool_calls=(ToolCall(name=tool.name, arguments=arguments),))
    return ordered([message], {tool.name: tool})[0].tool_calls[0]
