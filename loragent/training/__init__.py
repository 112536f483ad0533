"""The only training loop: data in, checked rows, a fitted plugin with its metrics, and the gate."""

from .formats import Example, Scan, read_examples, scan_file
from .gate import Verdict, judge
from .loop import Fitted, Job, Step, fit
from .many import fit_many
from .plot import plot_loss, plot_scores
from .settings import TrainSettings
from .workdir import discard, only_run

__all__ = [
    "Example",
    "Fitted",
    "Job",
    "Scan",
    "Step",
    "TrainSettings",
    "Verdict",
    "discard",
    "fit",
    "fit_many",
    "judge",
    "only_run",
    "plot_loss",
    "plot_scores",
    "read_examples",
    "scan_file",
]
