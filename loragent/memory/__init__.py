"""What agents lived through: a log that is the only truth, what follows from it, and a store that finds it."""

from .fact import QA, Fact, Note, Record, Scope
from .memory import Memory
from .recall import Recall
from .store import Hit

__all__ = ["QA", "Fact", "Hit", "Memory", "Note", "Recall", "Record", "Scope"]
