"""What agents lived through: a log that is the only truth, what follows from it, and a store that finds it."""

from .fact import QA, Fact, Note, Record, Scope
from .habits import Scene, Voice
from .match import Match
from .memory import Memory
from .sleep import Night
from .store import Hit

__all__ = ["QA", "Fact", "Hit", "Match", "Memory", "Night", "Note", "Record", "Scene", "Scope", "Voice"]
