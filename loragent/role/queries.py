"""Lists of user messages that a long prompt is distilled over."""

from __future__ import annotations

import json
from pathlib import Path

from ..core import DataError, Message, as_messages


def read_queries(path: Path) -> list[tuple[Message, ...]]:
    """JSONL rows with ``query``, ``prompt`` or ``messages`` (up to where the answer begins), or plain text lines.

    Raises:
        DataError: missing, empty, or a row without a user message; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"can't be read ({error})", "name a file of queries") from error
    queries = [_query(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not queries:
        raise DataError(path, "holds no queries", 'write one {"query": "..."} a line')
    return queries


def _query(path: Path, number: int, line: str) -> tuple[Message, ...]:
    if not line.lstrip().startswith("{"):
        return as_messages(line.strip())
    try:
        row = json.loads(line)
        found = row.get("query") or row.get("prompt") or row.get("messages")
        messages = as_messages(found)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(path, f"is no query ({error})", 'write {"query": "..."}', number) from error
    while messages and messages[-1].role == "assistant":  # a dialogue's own answer is not asked for
        messages = messages[:-1]
    if not messages:
        raise DataError(path, "has no user message", 'write {"query": "..."}', number)
    return messages
