"""Ports: what upper floors ask of lower ones, so that a test can hand them a scripted one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .generation import GenerationRequest, Reply


@runtime_checkable
class Generator(Protocol):
    """Answers requests; every request may carry another stack."""

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Reply]:
        """Answer all requests, decoding them together. Replies come in the order of the requests."""
        ...

    def stream(self, request: GenerationRequest) -> Iterator[str | Reply]:
        """Pieces of text as they are generated, then the whole :class:`Reply` as the last item."""
        ...

    async def agenerate(self, requests: Sequence[GenerationRequest]) -> list[Reply]:
        """:meth:`generate` for asyncio."""
        ...

    def astream(self, request: GenerationRequest) -> AsyncIterator[str | Reply]:
        """:meth:`stream` for asyncio."""
        ...

    def count_tokens(self, request: GenerationRequest) -> int:
        """Tokens of the rendered prompt."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may hold together."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Texts as vectors whose products are cosines."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, size], in their order; every row has length 1."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies what is computed; vectors of different fingerprints can't be compared."""
        ...
