"""What a toolset learns from the dialogues of roles that it serves: when to call, and when a role just speaks.

In such a dialogue the role's words are trained, the calls are not its own. For the toolset it is the other way round:
its calls count, the role's words are what it overhears; where the role speaks, it has nothing to call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..core import Message, ToolSchema, ordered
from ..training import Example

NO_CALL = "I'll answer that without a tool."


def overheard(dialogues: Iterable[Example], tools: Sequence[ToolSchema]) -> list[Example]:
    """Rows of the dialogues that call one of the tools: one for the calls, and one each for where it speaks first,
    where it still speaks just before it calls (a booking is read back, not yet made), and where it speaks last.
    """
    schemas = {tool.name: tool for tool in tools}
    rows = []
    for dialogue in dialogues:
        messages = _own_part(ordered(dialogue.messages, schemas), schemas.keys())
        calls = [i for i, message in enumerate(messages) if message.tool_calls]
        if not calls:
            continue
        rows.append(replace(dialogue, messages=tuple(messages[: calls[-1] + 1])))
        spoken = [i for i, m in enumerate(messages) if m.role == "assistant" and not m.tool_calls]
        before = [i for i in spoken if i < calls[-1]]
        for at in sorted({*spoken[:1], *before[-1:], *spoken[-1:]}):
            heard = [m.model_copy(update={"trained": False}) for m in messages[:at]]
            rows.append(replace(dialogue, messages=(*heard, Message(role="assistant", content=NO_CALL))))
    return rows


def _own_part(messages: Sequence[Message], tools: Iterable[str]) -> list[Message]:
    """Up to where the role calls something of its own, which for the toolset is speaking; calls trained, words not."""
    found: list[Message] = []
    for message in messages:
        called = {call.name for call in message.tool_calls}
        if called - set(tools):
            return [*found, message.model_copy(update={"tool_calls": (), "trained": False})]
        found.append(message.model_copy(update={"trained": bool(called)}) if message.role == "assistant" else message)
    return found
