"""What ``loragent bench role`` found, as tables beside what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..learning import Scores
from .console import scores_table, share, table
from .measure import machine

MEANS = ("action", "call_exact", "reply_match", "nll", "prompt_tokens", "first_token_ms")


def mean(results: Mapping[str, Any], groups: Sequence[str]) -> dict[str, dict[str, float]]:
    """Unweighted means over the groups, by condition; and the worst group's training time and memory."""
    found = [results["groups"][g] for g in groups]
    means = {
        condition: {key: sum(f["scores"][condition][key] or 0.0 for f in found) / len(found) for key in MEANS}
        for condition in found[0]["scores"]
    }
    worst = {key: max(f[key] for f in found) for key in ("train_seconds", "resident_growth")}
    return means | {"worst": worst}


def show(results: Mapping[str, Any], groups: Sequence[str]) -> None:
    """Tables for people: each group, the means, the tasks that were trained on, the curves."""
    for group in groups:
        found = results["groups"][group]
        title = f"{group} (trained {found['train_seconds']:.0f} s)"
        scores_table(title, [Scores(**s) for s in found["scores"].values()])
    _show_means(mean(results, groups), len(groups))
    _show_trained_tasks(results, groups)
    for group, points in results["curve"].items():
        rows = [
            [n, f"{p['action']:.3f}", f"{p['call_exact']:.3f}", f"{p['train_seconds']:.0f}"] for n, p in points.items()
        ]
        table(f"\n{group}: dialogues trained on", ["dialogues", "action", "call exact", "train s"], rows)


def _show_means(means: Mapping[str, Mapping[str, float]], count: int) -> None:
    plugin, long, worst = means["plugin"], means["long prompt"], means["worst"]
    fewer = 1 - plugin["prompt_tokens"] / long["prompt_tokens"]
    sooner = plugin["first_token_ms"] / long["first_token_ms"]
    rows = [
        ["next action right, no prompt", f"{plugin['action']:.3f}", ">= 0.65"],
        ["tool call exact", f"{plugin['call_exact']:.3f}", ">= 0.50"],
        ["fewer prompt tokens than the long prompt", f"{fewer:.1%}", ">= 60 %"],
        ["time to first token against the long prompt's", f"{sooner:.3f}", "<= 0.25"],
        ["training one group, slowest (s)", f"{worst['train_seconds']:.0f}", "<= 240"],
        ["resident memory while training / fp32 base", f"{worst['resident_growth']:.2f}", "< 0.60"],
        ["the long prompt alone: next action right", f"{long['action']:.3f}", ""],
    ]
    table(f"\nmean of {count} groups ({machine()})", ["", "reached", "asked for"], rows)


def _show_trained_tasks(results: Mapping[str, Any], groups: Sequence[str]) -> None:
    rows = []
    for group in groups:
        of, whole = results["groups"][group]["trained_tasks"], results["groups"][group]["scores"]["plugin"]
        rows.append([group, share(of["action"]), share(of["call_exact"]), f"{of['turns']} of {whole['turns']}"])
    table("\nplugin, test dialogues of tasks that it was trained on", ["", "action", "call exact", "turns"], rows)
