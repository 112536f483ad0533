"""Parts of texts: what of a record is searched (a fact or a question as a whole, a long note a sentence or two at a
time), and what can be copied from a text.
"""

from __future__ import annotations

import re

from .fact import QA, Note, Record

SHORT = 60  # characters; a sentence that is shorter stands with the next one
MOST_WORDS = 10  # that are copied in one piece
_AROUND, _BEHIND = "\"'\u201c\u201d\u2018\u2019()[]*.,;:!?", ".,;:!?"  # what isn't part of a name or a value
_WORD, _GENITIVE = re.compile(r"\S+"), re.compile(r"['\u2019]s?$")
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


def pieces(text: str) -> list[str]:
    """Runs of a text's words, as they stand there, and without what stands around a word."""
    words = [(word.start(), word.end()) for word in _WORD.finditer(text)]
    found: dict[str, None] = {}
    for at, (begin, _) in enumerate(words):
        for _, end in words[at : at + MOST_WORDS]:
            whole, bare = text[begin:end], text[begin:end].strip(_AROUND)
            found |= dict.fromkeys((whole, whole.rstrip(_BEHIND), bare, _GENITIVE.sub("", bare)))
    return [piece for piece in found if piece]
