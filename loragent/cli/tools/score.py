"""How calls are marked: exactly, or by the rules of the Berkeley Function-Calling Leaderboard's checker."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...core import ToolCall, ToolSchema

_IGNORED = re.compile(r"[ ,./\-_*^]")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def right_tools(calls: Sequence[ToolCall], wanted: Sequence[ToolCall]) -> bool:
    """The same tools, as often, in any order."""
    return Counter(c.name for c in calls) == Counter(c.name for c in wanted)


def exact_calls(calls: Sequence[ToolCall], wanted: Sequence[ToolCall]) -> bool:
    """The same tools with the same arguments, in any order."""
    left = [(c.name, c.arguments) for c in calls]
    for call in wanted:
        if (call.name, call.arguments) not in left:
            return False
        left.remove((call.name, call.arguments))
    return not left


def bfcl_right(
    calls: Sequence[ToolCall], tools: Sequence[ToolSchema], accepted: Sequence[Mapping[str, Mapping[str, list[Any]]]]
) -> bool:
    """Whether calls are right by BFCL's checker (Patil et al. 2025).

    Args:
        accepted: for each call that is wanted, the values that each argument may have; "" where it may be left out.
            None is wanted where no tool fits.
    """
    if len(calls) != len(accepted):
        return False
    schemas = {tool.name: tool for tool in tools}
    left = list(calls)
    for wanted in accepted:
        name, values = next(iter(wanted.items()))
        found = next((c for c in left if c.name == name and name in schemas and _fits(c, schemas[name], values)), None)
        if found is None:
            return False
        left.remove(found)
    return True


def _fits(call: ToolCall, tool: ToolSchema, accepted: Mapping[str, list[Any]]) -> bool:
    properties = tool.parameters["properties"]
    given = call.arguments
    if any(name not in given for name in tool.required):
        return False
    for name, value in given.items():
        if name not in properties or name not in accepted or not _accepted(value, properties[name], accepted[name]):
            return False
    return all(name in given or "" in values for name, values in accepted.items())


def _accepted(value: Any, schema: Mapping[str, Any], accepted: list[Any]) -> bool:
    kinds = _TYPES.get(str(schema.get("type")), (object,))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and object not in kinds):
        return any(type(value) is type(one) and _plain(value) == _plain(one) for one in accepted if one != "")
    if isinstance(value, dict):
        return any(isinstance(one, Mapping) and _dict_fits(value, one) for one in accepted)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return any(
            isinstance(one, list) and len(one) == len(value) and all(map(_dict_fits, value, one)) for one in accepted
        )
    return any(_plain(value) == _plain(one) for one in accepted)


def _dict_fits(value: Mapping[str, Any], accepted: Mapping[str, list[Any]]) -> bool:
    for key, found in value.items():
        if not any(_plain(found) == _plain(one) for one in accepted.get(key, ())):
            return False
    return all(key in value or "" in values for key, values in accepted.items())


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _IGNORED.sub("", value).lower().replace("'", '"')
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
