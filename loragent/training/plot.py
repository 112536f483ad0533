"""The loss curve of a run as a PNG, where matplotlib is installed (extra ``plot``)."""

from __future__ import annotations

import json
from pathlib import Path


def plot_loss(metrics: Path, target: Path) -> bool:
    """Draw ``metrics.jsonl``; returns False, and draws nothing, without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps = [(r["step"], r["loss"]) for r in rows if "step" in r]
    last = {r["epoch"]: r["step"] for r in rows if "step" in r}
    held = [(last[r["epoch"]], r["validation_loss"]) for r in rows if "validation_loss" in r]
    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot(*zip(*steps, strict=True), label="training", linewidth=1)
    if held:
        axes.plot(*zip(*held, strict=True), "o-", label="held-out rows")
    axes.set(xlabel="optimiser step", ylabel="loss (nats a token)", yscale="log")
    axes.legend(frameon=False)
    figure.savefig(target, dpi=110)
    pyplot.close(figure)
    return True
