"""The command: all cases, one table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from ...core import DataError
from ..console import err, print_json, table
from ..measure import machine
from .against_llama import llama_cases
from .at_work import work_cases
from .case import Found
from .many import many_cases
from .reading import reading_cases
from .speed import speed_cases
from .subject import Subject


def bench_engine(*, rounds: int, only: Sequence[str] | None, gguf: Path | None, as_json: bool) -> None:
    """Measure every case, or those whose numbers begin as ``only`` says, and print one table: of what was measured by
    then, if one fails.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        subject = Subject(Path(folder), stack)
        cases = [
            *speed_cases(subject),
            *many_cases(subject),
            *reading_cases(subject),
            *work_cases(subject),
            *(llama_cases(subject, gguf) if gguf else []),
        ]
        chosen = [case for case in cases if not only or case.number in only or case.number.rstrip("abcd") in only]
        if not chosen:
            known = ", ".join(case.number for case in cases)
            raise DataError("--only", f"no case is {', '.join(only or [])}", f"there: {known}")
        found: list[Found] = []
        try:
            for case in sorted(chosen, key=lambda case: int(case.number.rstrip("abcd"))):
                with err.status(f"{case.number} {case.title} ..."):
                    found.append(case.measure(rounds))
        finally:
            _show(found, rounds, as_json=as_json)


def _show(found: Sequence[Found], rounds: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"machine": machine(), "rounds": rounds, "found": [asdict(f) for f in found]})
        return
    rows = [
        [
            f"{f.number:3} {f.title}",
            f.measured,
            f"{f.ratio:.3g}",
            f"{'>=' if f.at_least else '<='} {f.asked:.4g}",
            "yes" if f.reached else "no",
        ]
        for f in found
    ]
    table(f"engine ({machine()}, medians of {rounds})", ["", "measured", "ratio", "asked for", "reached"], rows)
