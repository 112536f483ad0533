"""The shared weights: resolve, fetch once, load, fingerprint, and the chat template."""

from .compute import aside, breathe, compute
from .default import NAME, default_folder, ensure_default
from .embedder import MiniLM, ensure_embedder
from .fingerprint import fingerprint_folder
from .home import home, recall, remember
from .load import LoadedModel, is_default, load_model, on_cuda
from .memory import blank, keep_freed, release_freed
from .signature import tool_text, with_tools
from .template import CALL, END_OF_CALL, ChatTemplate, Encoded, Piece
from .twin import twin_of

__all__ = [
    "CALL",
    "END_OF_CALL",
    "NAME",
    "ChatTemplate",
    "Encoded",
    "LoadedModel",
    "MiniLM",
    "Piece",
    "aside",
    "blank",
    "breathe",
    "compute",
    "default_folder",
    "ensure_default",
    "ensure_embedder",
    "fingerprint_folder",
    "home",
    "is_default",
    "keep_freed",
    "load_model",
    "on_cuda",
    "recall",
    "release_freed",
    "remember",
    "tool_text",
    "twin_of",
    "with_tools",
]
