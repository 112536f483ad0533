"""The engine beside other work: a training run, and a new version that is published."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...base import Base
from ...core import Message, TrainingRow
from ...plugin import Manifest
from ...training import Job, Step, TrainSettings
from .case import Case
from .subject import MS, PROMPT, Subject, milliseconds_since, request

STREAMED = 200  # tokens between which gaps are measured
PLUGINS, FACTS, EPOCHS = 8, 24, 4  # trained at once, rows of each, passes


def work_cases(subject: Subject) -> list[Case]:
    """Rows 10 and 11."""
    dtype = subject.default

    def beside() -> float:
        base = subject.base(dtype)
        with _training(base):
            return _late_gap(base)

    return [
        Case("10a", f"p95 between tokens while training against idle, {dtype}", MS, beside,
             lambda: _late_gap(subject.base(dtype)), 2.0, False),
        Case("10b", f"what publishing a version adds to the longest gap between tokens, {dtype}", MS,
             lambda: _publishing(subject)[1], None, 10.0, False),
        Case("10c", "publishing a version, checked and flushed to disk", MS,
             lambda: _publishing(subject)[0], None, 10.0, False),
        Case("11", f"{PLUGINS} plugins trained one after another against together", "s",
             lambda: _one_by_one(subject), lambda: _together(subject), 1.5),
    ]  # fmt: skip


def _gaps(base: Base, tokens: int = STREAMED) -> Iterator[float]:
    """Milliseconds between the pieces of a stream."""
    last = None
    for _ in base.stream(request("Tell me a long story about the sea.", [], tokens)):
        now = time.perf_counter()
        if last is not None:
            yield (now - last) * 1e3
        last = now


def _late_gap(base: Base) -> float:
    """The 95th of a hundred gaps."""
    gaps = sorted(_gaps(base))
    return gaps[int(0.95 * len(gaps))]


class _Stop(Exception):
    """Ends a training run that has served its purpose."""


@contextmanager
def _training(base: Base) -> Iterator[None]:
    """A training run on 64 rows of some 130 tokens, begun before and going on meanwhile."""
    begun, stop = threading.Event(), threading.Event()

    def on_step(step: Step) -> None:
        del step
        begun.set()
        if stop.is_set():
            raise _Stop

    def run(workdir: Path) -> None:
        try:
            base.fit(_rows(base), TrainSettings(epochs=1000, start="none"), workdir, on_step=on_step)
        except _Stop:
            shutil.rmtree(workdir)

    workdir = Path(tempfile.mkdtemp())
    thread = threading.Thread(target=run, args=(workdir,))
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _rows(base: Base) -> list[TrainingRow]:
    texts = [[Message(role="user", content=f"{n} " + PROMPT * 7)] for n in range(64)]
    ids = [tuple(base.template.prompt_ids(text)) for text in texts]
    return [TrainingRow(row, tuple(at > len(row) // 2 for at in range(len(row)))) for row in ids]


def _publishing(subject: Subject) -> tuple[float, float]:
    """Milliseconds that publishing takes, and what it adds to the longest gap of a stream over that of an idle one."""
    base = subject.base(subject.default)
    idle = list(_gaps(base, 100))
    beside: list[float] = []
    thread = threading.Thread(target=lambda: beside.extend(_gaps(base, 100)))
    thread.start()
    time.sleep(0.3)  # until it streams
    began = time.perf_counter()
    base.library.publish(subject.plugins[0], Manifest(name="news", base=base.fingerprint), shapes=base.shapes)
    took = milliseconds_since(began)
    thread.join()
    return took, max(beside) - max(idle)


def _jobs(subject: Subject, folder: Path) -> list[Job]:
    """Short questions and answers, as memory learns them: 27 tokens a row."""
    words, draw = PROMPT.split(), random.Random(0)
    jobs = []
    for n in range(PLUGINS):
        rows = []
        for _ in range(FACTS):
            question, answer = (" ".join(draw.choices(words, k=k)) for k in (8, 6))
            talk = [Message(role="user", content=question), Message(role="assistant", content=answer)]
            (encoded,) = subject.base(subject.default).template.training_rows(talk)
            rows.append(TrainingRow(tuple(encoded.ids), tuple(encoded.mask)))
        settings = TrainSettings(epochs=EPOCHS, start="none", validation=0)
        jobs.append(Job(rows, settings, folder / str(n)))
    return jobs


def _one_by_one(subject: Subject) -> float:
    base = subject.base(subject.default)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for job in _jobs(subject, Path(folder)):
            base.fit(job.rows, job.settings, job.workdir)
        return milliseconds_since(began) / 1e3


def _together(subject: Subject) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subject.base(subject.default).fit_many(_jobs(subject, Path(folder)))
        return milliseconds_since(began) / 1e3
