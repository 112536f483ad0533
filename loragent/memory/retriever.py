"""A memory's search for the LangChain world."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from .store import Hit


class MemoryRetriever(BaseRetriever):
    """Live records as documents, best first; ``metadata`` has ``id``, ``score``, ``source`` and ``valid_from``."""

    search: Callable[[str], list[Hit]]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [_document(hit) for hit in self.search(query)]


def _document(hit: Hit) -> Document:
    record = hit.record
    about = {"id": record.id, "score": hit.score, "source": record.source, "valid_from": record.valid_from.isoformat()}
    return Document(page_content=record.text, metadata=about)
