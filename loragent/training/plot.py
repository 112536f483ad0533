"""Curves as PNGs, where matplotlib is installed (extra ``plot``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def plot_loss(metrics: Path, target: Path) -> bool:
    """Draw ``metrics.jsonl`` of a run; returns False, and draws nothing, without matplotlib."""
    if (pyplot := _pyplot()) is None:
        return False
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


def plot_scores(
    curves: Mapping[str, Mapping[str, Mapping[str, float]]], titles: Mapping[str, str], target: Path
) -> bool:
    """Draw scores over numbers of training dialogues, side by side; returns False without matplotlib.

    Args:
        curves: name -> number of dialogues -> score -> value, 0 to 1.
        titles: of the scores to draw.
    """
    if (pyplot := _pyplot()) is None:
        return False
    size = {"figsize": (4.5 * len(titles), 3.5), "layout": "constrained"}
    figure, axes = pyplot.subplots(1, len(titles), sharex=True, squeeze=False, **size)
    for side, (score, title) in zip(axes[0], titles.items(), strict=True):
        for name, points in curves.items():
            side.plot([int(n) for n in points], [p[score] for p in points.values()], "o-", label=name)
        side.set(xscale="log", xlabel="training dialogues", title=title, ylim=(0, 1))
        counts = sorted({int(n) for points in curves.values() for n in points})
        side.set_xticks(counts, labels=[str(n) for n in counts])
        side.minorticks_off()
    axes[0][0].legend(frameon=False)
    figure.savefig(target, dpi=110)
    pyplot.close(figure)
    return True


def _pyplot() -> Any:
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
