"""A memory over an embedder that counts words, and a model that says what it is told to."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import loragent as la


class Words:
    """Texts as counts of their words, hashed; two texts are as near as they share words."""

    fingerprint = "words:1"

    def __init__(self) -> None:
        self.texts = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += len(texts)
        found = np.zeros((len(texts), 512), dtype=np.float32)
        for row, text in zip(found, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[zlib.crc32(word.encode()) % 512] += 1
            row[0] += 1e-3  # a text without words is near nothing, but no zero
        unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit


class Reader:
    """Answers with a text, and keeps what it was asked."""

    context_length = 2048

    def __init__(self, answer: str = "I don't know.") -> None:
        self.answer = answer
        self.asked: list[la.GenerationRequest] = []

    def generate(self, requests: Sequence[la.GenerationRequest]) -> list[la.Reply]:
        self.asked += requests
        usage = la.Usage(prompt_tokens=30, completion_tokens=5, first_token_ms=1.0, total_ms=2.0)
        return [la.Reply(text=self.answer, stack=(), usage=usage, finish="stop") for _ in requests]


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def memory(tmp_path: Path, words: Words, reader: Reader) -> Iterator[la.Memory]:
    found = la.Memory(tmp_path / "memory", base=reader, embedder=words)
    yield found
    found.close()
