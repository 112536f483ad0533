"""What an answer may look like: a grammar of the tools in scope, or of a typed result, as llguidance reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import combinations, product
from typing import Any

from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel

from ..core import GenerationRequest, ToolCall, ToolSchema
from ..model import CALL, END_OF_CALL

MOST_CALLS = 8  # of one answer
MOST_IN_ANY_ORDER = 5  # required arguments
MOST_FOLLOWED = 6  # arguments, each of which comes at most once
_PLAIN = {"type", "properties", "required", "additionalProperties", "$defs", "definitions", "description", "$schema"}
# Digits without an end are no number that anybody's float or database holds.
_BOUNDS = {"integer": (-(2**53), 2**53), "number": (-1e15, 1e15)}
# As `ToolCall.to_json` writes it, so that the grammar allows exactly what plugins are trained on.
_FORM = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"}


def grammar_of(request: GenerationRequest, tools: tuple[ToolSchema, ...], others: Iterable[str] = ()) -> str | None:
    """The grammar of an answer that may call some of a request's tools; None if anything goes. See :func:`lark`."""
    output = None if request.output is None else schema_of(request.output)
    if not request.tools and output is None:
        return None
    return lark(tools, output, must_call=request.must_call, parallel=request.parallel_calls, others=others)


def schema_of(output: type[BaseModel] | Mapping[str, Any]) -> dict[str, Any]:
    """A typed result as JSON Schema."""
    return dict(output) if isinstance(output, Mapping) else output.model_json_schema()


def lark(
    tools: tuple[ToolSchema, ...],
    output: Mapping[str, Any] | None = None,
    *,
    must_call: bool,
    parallel: bool,
    others: Iterable[str] = (),
) -> str:
    """Words, or what ``output`` describes; or words and then calls of ``tools``.

    Args:
        others: names of tools that a plugin has learnt and that are out of scope. To name one ends the answer: who
            can't say that it wants another tool calls a wrong one.
    """
    names = [json.dumps(f'{{"name": {json.dumps(name, ensure_ascii=False)}') for name in sorted(others)]
    strange = "| other" if names and tools and not must_call else ""
    more = f"(OPEN call){{0,{MOST_CALLS - 1}}}" if parallel else ""
    words_before = not must_call and output is None
    answers = [f"{'head' if words_before else 'OPEN'} (call {more} {strange})"] if tools else []
    if not must_call:
        answers.append("output" if output is not None else "WORDS")
    lines = ["%llguidance {}", f"start: {' | '.join(answers)}"]
    if words_before:
        lines.append(f"WORDS: /(.|\\n)*/ & ~/(.|\\n)*{CALL}(.|\\n)*/")
    if tools:
        lines += [
            f"call: ({' | '.join(f'tool_{i}' for i in range(len(tools)))}) {json.dumps(END_OF_CALL)}",
            f"OPEN: {json.dumps(CALL)}",
            f"head[lazy]: /(.|\\n)*{CALL}/",
            *([f"other: {' | '.join(names)}"] if strange else []),
        ]
        for i, tool in enumerate(tools):
            lines.append(f'tool_{i}: {json.dumps(opening(tool))} arguments_{i} "}}"')
            lines += _arguments(f"arguments_{i}", tool.parameters)
    if output is not None:
        lines.append(f"output: {_json(output)}")
    return "\n".join(lines)


def is_call_of(tool: ToolSchema, call: ToolCall) -> bool:
    """Whether an answer could hold a call: its arguments are valid, and objects in them in their schema's order."""
    rules = ["%llguidance {}", "start: arguments", *_arguments("arguments", tool.parameters)]
    matcher = _compiled("\n".join(rules)).deep_copy()
    written = json.dumps(call.arguments, ensure_ascii=False).encode()
    return call.name == tool.name and bool(matcher.consume_tokens(list(written))) and bool(matcher.is_accepting())


@lru_cache(maxsize=512)
def _compiled(rules: str) -> LLMatcher:
    return LLMatcher(_bytes(), rules, log_level=0)


@lru_cache(maxsize=1)
def _bytes() -> LLTokenizer:
    return LLTokenizer("byte")


def opening(tool: ToolSchema) -> str:
    """What every call of a tool begins with, behind the tag."""
    return f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "arguments": '


def _arguments(rule: str, parameters: Mapping[str, Any]) -> list[str]:
    """Rules of a call's arguments, in any order: what is said first is copied first (docs/adr/0011).

    ``{rule}_rest_S_n`` is the rest of the object while the arguments S may still come, and n more of those that are not
    followed one by one. There are 2^|S| of them: so where many are required the schema's own order is kept to, and
    where many are optional one of them may come twice, of which JSON's readers take the last.
    """
    schema = strict(parameters)
    fields: Mapping[str, Any] = schema.get("properties", {})
    required = [name for name in fields if name in schema.get("required", ())]
    plain = schema.get("additionalProperties") is False and set(schema) <= _PLAIN
    if not plain or len(required) > MOST_IN_ANY_ORDER or set(schema.get("required", ())) - set(fields):
        return [f"{rule}: {_json(parameters)}"]
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    lines = [
        f"{rule}_{n}_pair: {json.dumps(json.dumps(name, ensure_ascii=False) + ': ')} {_json({**inner, **shared})}"
        for n, (name, inner) in enumerate(fields.items())
        if isinstance(inner, Mapping)
    ]
    if len(lines) < len(fields):  # a field of which nothing is said
        return [f"{rule}: {_json(parameters)}"]
    numbers = {name: n for n, name in enumerate(fields)}
    optional = [name for name in fields if name not in required]
    followed = [*required, *optional[: MOST_FOLLOWED - len(required)]]
    counted = [name for name in optional if name not in followed]

    def name_of(open_: Iterable[str], more: int) -> str:
        return f"{rule}_rest" + "".join(f"_{numbers[name]}" for name in open_) + f"_m{more}"

    def rest(open_: tuple[str, ...], more: int, between: str) -> str:
        ways = [] if set(open_) & set(required) else ['"}"']
        behind = {name: name_of((other for other in open_ if other != name), more) for name in open_}
        behind |= {name: name_of(open_, more - 1) for name in counted if more}
        ways += [f"{between}{rule}_{numbers[name]}_pair {then}" for name, then in behind.items()]
        return " | ".join(ways)

    lines.append(f'{rule}: "{{" ({rest(tuple(followed), len(counted), "")})')
    for count, more in product(range(len(followed) + 1), range(len(counted) + 1)):
        for open_ in combinations(followed, count):
            lines.append(f"{name_of(open_, more)}: {rest(open_, more, json.dumps(', ') + ' ')}")
    return lines


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {json.dumps({**strict(schema), 'x-guidance': _FORM}, ensure_ascii=False)}"


def with_all(schema: Any) -> Any:
    """The schema with nothing optional: what an answer may grow to when it begins all that it may."""
    if isinstance(schema, list):
        return [with_all(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    properties = {name: with_all(inner) for name, inner in schema.get("properties", {}).items()}
    found = {key: with_all(value) if key in ("items", "anyOf", "oneOf") else value for key, value in schema.items()}
    return {**found, "properties": properties, "required": list(properties)} if properties else found


def strict(schema: Any, *, closed: bool = True) -> Any:
    """What a model may write of what a schema allows: no properties but the named ones, unless the schema says
    otherwise; no numbers without bounds; formats that the grammar doesn't know are remarks (as JSON Schema has it).
    """
    if isinstance(schema, list):
        return [strict(item, closed=closed) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    schema = _of_items(schema)
    found = {key: _strict_part(key, value) for key, value in schema.items() if not _is_remark(key, value)}
    if closed and "properties" in found and not {"allOf", "$ref"} & set(found):
        found.setdefault("additionalProperties", False)
    low, high = _BOUNDS.get(str(found.get("type")), (None, None))
    if low is not None and "enum" not in found and "const" not in found:
        if not {"minimum", "exclusiveMinimum"} & set(found):
            found["minimum"] = min(low, found.get("maximum") or low)
        if not {"maximum", "exclusiveMaximum"} & set(found):
            found["maximum"] = max(high or 0, found.get("minimum") or 0)
    return found


def _of_items(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Lists are often written with the values of their items as their own, which no list would be one of."""
    values, items = schema.get("enum"), schema.get("items")
    if schema.get("type") != "array" or not isinstance(values, list) or not isinstance(items, Mapping):
        return schema
    if not values or any(isinstance(value, list) for value in values):
        return schema
    return {**{k: v for k, v in schema.items() if k != "enum"}, "items": {"enum": values, **items}}


def _strict_part(key: str, value: Any) -> Any:
    if key in ("enum", "const", "default", "examples", "required"):
        return value
    if key in ("properties", "$defs", "definitions", "patternProperties"):
        return {name: strict(inner) for name, inner in value.items()}
    return strict(value, closed=key != "allOf")  # parts that are to hold together each name some of the properties


def _is_remark(key: str, value: Any) -> bool:
    return key == "format" and value not in _FORMATS
