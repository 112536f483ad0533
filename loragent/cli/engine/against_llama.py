"""The engine against llama.cpp, on the GGUF that the default base was made from."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from ...core import DataError
from .case import Case, Measure
from .subject import PROMPT, RATE, ROWS, TOKENS, Subject

READ = 512  # tokens of a prompt
SCRIPT = Path(__file__).with_name("llama.py")


def llama_cases(subject: Subject, gguf: Path) -> list[Case]:
    """Row 14.

    llama.cpp does not batch rows with different plugins, so it takes them one at a time; it is measured without any
    plugin there, which can only flatter it.
    """
    if not gguf.is_file():
        raise DataError(gguf, "is no file", "unzip the base's wheel, or leave --gguf out")
    dtype, base = subject.default, partial(subject.base, subject.default)
    theirs = partial(_llama, gguf)
    one = [[plugin] for plugin in subject.plugins[:ROWS]]
    return [
        Case("14a", f"16 rows, {dtype}, against llama.cpp", RATE, lambda: subject.rate(base(), [[]] * ROWS),
             theirs("decode", ROWS), 1.8),
        Case("14b", f"16 rows with 16 plugins, {dtype}, against llama.cpp one at a time", RATE,
             lambda: subject.rate(base(), one), theirs("decode", 1), 4.0),
        Case("14c", f"one row, {dtype}, against llama.cpp", RATE, lambda: subject.rate(base(), [[]]),
             theirs("decode", 1), 0.9),
        Case("14d", f"reading a prompt of {READ} tokens, {dtype}, against llama.cpp", RATE,
             partial(_reading, subject), theirs("read", READ), 3.0),
    ]  # fmt: skip


def _reading(subject: Subject) -> float:
    """Prompt tokens a second, to the first token."""
    base = subject.base(subject.default)
    talk = subject.conversation(READ)
    tokens = len(base.template.prompt_ids(talk))
    return tokens / (subject.first_token(base, talk) / 1e3)


def _llama(gguf: Path, what: str, count: int) -> Measure:
    def measure() -> float:
        command = [sys.executable, str(SCRIPT), str(gguf), what, str(count), str(TOKENS), PROMPT]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise DataError(gguf, f"llama.cpp did not run it ({last})", "pip install llama-cpp-python")
        return float(json.loads(done.stdout.splitlines()[-1]))

    return measure
