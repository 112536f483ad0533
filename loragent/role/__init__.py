"""Roles: their folders, their data as rows, their training, and the one scorer."""

from .curriculum import DialogueCurriculum, PromptCurriculum
from .evaluate import Condition, Sample, Scores, evaluate
from .scoring import MATCH, TurnScore, nearest_reply, normalise, rates, score_turn, similarity
from .spec import RoleSpec, load_role, write_role
from .starter import shipped_starter, starting_point
from .train import Report, train_role

__all__ = [
    "MATCH",
    "Condition",
    "DialogueCurriculum",
    "PromptCurriculum",
    "Report",
    "RoleSpec",
    "Sample",
    "Scores",
    "TurnScore",
    "evaluate",
    "load_role",
    "nearest_reply",
    "normalise",
    "rates",
    "score_turn",
    "shipped_starter",
    "similarity",
    "starting_point",
    "train_role",
    "write_role",
]
