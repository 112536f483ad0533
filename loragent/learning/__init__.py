"""The one road from data to a published plugin: rows, training, scores, gate, shelf."""

from .dialogues import DialogueCurriculum, digest_of, prose_row, row_of
from .evaluate import Condition, Sample, Scores, evaluate
from .road import Lesson, Report, learn
from .scoring import MATCH, TurnScore, nearest_reply, normalise, rates, score_turn, similarity
from .starter import shipped_starter, starting_point
from .table import Form, read_table

__all__ = [
    "MATCH",
    "Condition",
    "DialogueCurriculum",
    "Form",
    "Lesson",
    "Report",
    "Sample",
    "Scores",
    "TurnScore",
    "digest_of",
    "evaluate",
    "learn",
    "nearest_reply",
    "normalise",
    "prose_row",
    "rates",
    "read_table",
    "row_of",
    "score_turn",
    "shipped_starter",
    "similarity",
    "starting_point",
]
