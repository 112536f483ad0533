"""Who may be published: a plugin that beats having none, and beats the version in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MARGIN = 0.005  # of the incumbent's nll; rounding alone makes two runs on the same data differ by less
RATES = ("reply_match", "call_exact")
SLACK = 0.02  # by which a rate may fall: one turn in fifty


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision with its reasons, one line each."""

    passed: bool
    reasons: tuple[str, ...]


def judge(
    after: Mapping[str, float],
    before: Mapping[str, float],
    incumbent: Mapping[str, float] | None,
    name: str = "the incumbent",
) -> Verdict:
    """Compare scores on the same held-out rows.

    Args:
        after: with the new plugin; ``nll`` (nats a token, lower is better) decides, and no rate
            (``reply_match``, ``call_exact``) may fall.
        before: the base without any plugin or prompt.
        incumbent: with the version in use, if there is one; none of its rates may be missed by more than ``SLACK``,
            and its ``nll`` is to be beaten by at least ``MARGIN``, or equalled within that with a rate that is better
            by more than ``SLACK``.
    """
    reasons = []
    if not after["nll"] < before["nll"]:
        reasons.append(f"nll {after['nll']:.4f} does not beat the base alone ({before['nll']:.4f})")
    for rate in RATES:
        if rate in after and after[rate] < before.get(rate, 0.0):
            reasons.append(f"{rate} {after[rate]:.3f} is below the base alone ({before[rate]:.3f})")
        if incumbent is not None and after.get(rate, 1.0) < incumbent.get(rate, 0.0) - SLACK:
            reasons.append(f"{rate} {after.get(rate, 0.0):.3f} is below {name} ({incumbent[rate]:.3f})")
    if incumbent is not None and not _beats(after, incumbent):
        reasons.append(f"nll {after['nll']:.4f} does not beat {name} ({incumbent['nll']:.4f})")
    return Verdict(not reasons, tuple(reasons))


def _beats(after: Mapping[str, float], incumbent: Mapping[str, float]) -> bool:
    better = any(after.get(rate, 0.0) > incumbent[rate] + SLACK for rate in RATES if rate in incumbent)
    return after["nll"] < incumbent["nll"] * (1 + (MARGIN if better else -MARGIN))
