"""Throughput: against stock PEFT, stock transformers, and the engine's own bare base."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...model import compute
from .case import Case, Measure
from .subject import RATE, ROWS, TOKENS, Subject


def speed_cases(subject: Subject) -> list[Case]:
    """Rows 1 to 4, 7 and 12."""
    default, best = subject.default, subject.best
    pool = subject.plugins
    one = [[plugin] for plugin in pool[:ROWS]]
    four = [[pool[i % 4]] for i in range(ROWS)]
    three = [pool[3 * i : 3 * i + 3] for i in range(ROWS)]
    shared = [[pool[(i + 5 * n) % ROWS] for n in range(3)] for i in range(ROWS)]
    bare: list[list[Path]] = [[] for _ in range(ROWS)]
    full, quick = partial(_ours, subject, "float32"), partial(_ours, subject, default)
    stock, mixed = partial(_stock, subject, mixed=False), partial(_stock, subject, mixed=True)
    return [
        Case("1a", "16 plugins against PEFT adapter_names, float32", RATE, full(one), mixed("float32", ROWS), 3.0),
        Case("1b", f"16 plugins, {default}, against PEFT's best, {best}", RATE, quick(one), mixed(best, ROWS), 6.0),
        Case("2a", "16 plugins against PEFT row by row, float32", RATE, full(one), _by_turns(subject, "float32"), 10.0),
        Case(
            "2b", f"16 plugins, {default}, against the same in {best}", RATE, quick(one), _by_turns(subject, best), 10.0
        ),
        *(
            case
            for dtype, mine in {"float32": full, default: quick}.items()
            for case in (
                Case("3a", f"16 plugins against none, {dtype}", RATE, mine(one), mine(bare), 0.80),
                Case("3b", f"4 plugins against none, {dtype}", RATE, mine(four), mine(bare), 0.90),
                Case("3c", f"48 plugins, 3 a row, against none, {dtype}", RATE, mine(three), mine(bare), 0.60),
            )
        ),
        Case("4", f"16 rows, {default}, against generate, {best}", RATE, quick(bare), stock(best, ROWS), 2.5),
        Case("7", f"one plugin of 16 a row against three, {default}", RATE, quick(one), quick(shared), 1.10, False),
        Case("12", f"one row, {default}, against generate, {best}", RATE, quick(bare[:1]), stock(best, 1), 2.5),
    ]


def _ours(subject: Subject, dtype: str, stacks: Sequence[Sequence[Path]]) -> Measure:
    return lambda: subject.rate(subject.base(dtype), stacks)


def _stock(subject: Subject, dtype: str, rows: int, *, mixed: bool) -> Measure:
    def measure() -> float:
        rival, prompts = subject.rival(dtype), [subject.prompt()] * rows
        return compute(lambda: rival.decode(prompts, TOKENS, mixed=mixed))

    return measure


def _by_turns(subject: Subject, dtype: str) -> Measure:
    def measure() -> float:
        rival, prompt = subject.rival(dtype), subject.prompt()
        return compute(lambda: rival.one_at_a_time(prompt, TOKENS))

    return measure
