"""Many plugins: registered, activated, and more than memory holds."""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import count, islice
from pathlib import Path

import torch

from ...base import Base
from ...core import Limits, Use
from ...engine.lora import Stack
from ...model import compute
from ...plugin import Library, Manifest
from .case import Case, Measure
from .subject import MS, PROMPT, RATE, ROWS, Subject, milliseconds_since, request

REGISTERED = 10_000
ACTIVATED, ACTIVATIONS = 1_000, 20
SMALL = 4  # layers that the thousand touch, for the sake of memory: 1.3 MB each


def many_cases(subject: Subject) -> list[Case]:
    """Rows 5, 6 and 13."""
    dtype = subject.default
    few, many = (lru_cache(maxsize=1)(partial(_with_library, subject, count)) for count in (ROWS, REGISTERED))
    half, whole = (partial(_working_set, subject, share) for share in (0.5, 2.0))
    return [
        Case("5", f"10,000 plugins registered against 16, {dtype}", RATE, lambda: _named_rate(subject, many()),
             lambda: _named_rate(subject, few()), 0.95),
        Case("6a", "activating the 1,000th plugin against the 1st, from disk", MS, *_activations(subject), 1.5, False),
        Case("6b", "a plugin from memory into a batch of 16", MS, partial(_join, subject), None, 10.0, False),
        Case("13", f"first token, half of the plugins fit against all, {dtype}", MS, half, whole, 2.0, False),
    ]  # fmt: skip


def _with_library(subject: Subject, count: int) -> Base:
    """A base whose library has so many plugins: links to the same few files, under names and settings of their own."""
    root = subject.folder / f"library-{count}"
    fill_library(root, subject.plugins, count, subject.base("float32").fingerprint)
    return subject.opened(Library(root))


def fill_library(root: Path, plugins: Sequence[Path], count: int, base: str) -> None:
    """Register ``plugin-0`` ... as links to weights that are there; each with a configuration of its own."""
    library = Library(root)
    made = [library.publish(plugin, Manifest(name=f"seed-{n}", base=base)) for n, plugin in enumerate(plugins)]
    for n in range(count):
        seed = made[n % len(made)]
        folder = root / f"plugin-{n}" / "1"
        folder.mkdir(parents=True)
        os.link(seed.path / "adapter_model.safetensors", folder / "adapter_model.safetensors")
        config = json.loads((seed.path / "adapter_config.json").read_text()) | {"revision": str(n)}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        manifest = seed.manifest.model_copy(update={"name": f"plugin-{n}", "version": 1, "config_sha256": ""})
        manifest.write(folder)
        (root / f"plugin-{n}" / "pointer.json").write_text('{"current": 1, "next": 2}')


def _named_rate(subject: Subject, base: Base) -> float:
    return subject.rate(base, [[f"plugin-{n}"] for n in range(ROWS)])


def _activate(base: Base, fresh: Iterator[int]) -> float:
    """Milliseconds from a name to weights in memory; the median of some plugins that were on disk alone."""
    times = []
    for n in islice(fresh, ACTIVATIONS):
        began = time.perf_counter()
        base.pin(f"plugin-{n}")
        times.append(milliseconds_since(began))
    return statistics.median(times)


def _activations(subject: Subject) -> tuple[Measure, Measure]:
    """Of a base that holds some thousand plugins, and of one that holds few."""

    @lru_cache(maxsize=1)
    def bases() -> list[tuple[Base, Iterator[int]]]:
        root = subject.folder / "library-small"
        fill_library(root, subject.random(8, layers=SMALL), 2 * ACTIVATED, subject.base("float32").fingerprint)
        full, empty = (subject.opened(Library(root), Limits(plugin_bytes=4 << 30)) for _ in range(2))
        for n in range(ACTIVATED):
            full.pin(f"plugin-{n}")
        return [(full, count(ACTIVATED)), (empty, count(ACTIVATED))]

    return lambda: _activate(*bases()[0]), lambda: _activate(*bases()[1])


def _join(subject: Subject) -> float:
    """Milliseconds until the matrices of a batch hold another plugin, which is in memory, in place of one."""
    engine = subject.base(subject.default)._engine

    def stacks(plugins: Sequence[Path]) -> list[Stack]:
        return [engine.intake.prepare(request(PROMPT, [Use(plugin)], 1)).stack for plugin in plugins]

    before, after = stacks(subject.plugins[:ROWS]), stacks([*subject.plugins[: ROWS - 1], subject.plugins[ROWS]])

    @torch.inference_mode()
    def swap() -> float:
        engine._runner.planner.decoding(before)
        began = time.perf_counter()
        engine._runner.planner.decoding(after)
        return milliseconds_since(began)

    return compute(swap)


def _working_set(subject: Subject, fitting: float) -> float:
    """To the first token of rows that come one by one, each with any of 16 plugins, of which such a share fits."""
    bare = subject.base(subject.default)
    one = bare._engine.intake._slots.get(bare.library.resolve(subject.plugins[0]))
    base = subject.base(subject.default, Limits(plugin_bytes=int(ROWS * one.nbytes * fitting) + 1))
    order = random.Random(0).choices(subject.plugins[:ROWS], k=3 * ROWS)
    times = []
    for n, plugin in enumerate(order):
        times.append(subject.first_token(base, f"{n} {PROMPT}", [Use(plugin)]))
        base.forget()
    return statistics.median(times[ROWS:])
