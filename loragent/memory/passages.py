"""What of a record is searched: a fact or a question as a whole, a long note a sentence or two at a time."""

from __future__ import annotations

import re

from .fact import QA, Note, Record

SHORT = 60  # characters; a sentence that is shorter stands with the next one
_END = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019)]*\s+|\n+")


def passages(record: Record) -> list[str]:
    """The lines of a record that a question may be near to, in their order."""
    return sentences(record.text) if isinstance(record.told, Note) else [record.text]


def searched(record: Record) -> list[str]:
    """What is embedded of each line: of a question with its answer the question, for that is what is asked again."""
    return [record.told.question] if isinstance(record.told, QA) else passages(record)


def sentences(text: str) -> list[str]:
    """A text a sentence or two at a time."""
    found: list[str] = []
    ends = [match.end() for match in _END.finditer(text)]
    for begin, end in zip([0, *ends], [*ends, len(text)], strict=True):
        part = text[begin:end].strip()
        if found and len(found[-1]) < SHORT:
            found[-1] = f"{found[-1]} {part}".strip()
        elif part:
            found.append(part)
    return found or [text]
