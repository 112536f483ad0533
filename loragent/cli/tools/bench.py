"""The table of ``loragent bench tools``; results are kept as they come, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from ...base import Base
from ...core import DataError, GenerationRequest, Reply, ToolSchema, Use, tool_schemas
from ...learning import DialogueCurriculum, starting_point
from ...plugin import Manifest
from ...tool import load_toolset
from ...training import Example, TrainSettings, read_examples
from ..console import err, out, print_json, training_bar
from ..measure import machine
from ..open import open_base
from .cost import grammar_cost, valid_calls
from .score import bfcl_right, exact_calls, right_tools

MAX_TOKENS = 160
SEAL_TOKENS = 320  # up to three calls
AT_ONCE = 64  # rows that are asked together
PARTS = ("cost", "valid", "snips", "seal", "bfcl")
# Chosen on every fourteenth row of train.jsonl (docs/adr/0014); all layers, since copying is done low down too.
SNIPS = TrainSettings(epochs=2, batch_rows=8, learning_rate=1.5e-3, layers=0, validation=0.02)

Mark = Callable[[Example, Reply], dict[str, bool]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way of giving a base its tools."""

    name: str
    stack: tuple[Use, ...] = ()

    @property
    def bare(self) -> bool:
        return not self.stack


@dataclass(frozen=True, slots=True)
class ToolTests:
    """What the benchmark runs on.

    Attributes:
        data: the folder with snips_tools, seal_tools and bfcl.
        folder: where results and plugins are kept.
        rows: of each test file, the first so many; by default all.
        bare_rows: of those, so many that the bare base is asked, spread over them; by default all.
        calling: the set whose plugin reads schemas.
    """

    data: Path
    folder: Path
    rows: int | None
    bare_rows: int | None
    calling: Path

    @property
    def extent(self) -> dict[str, int | None]:
        """How much is asked; what was found with another is measured again."""
        return {"rows": self.rows, "bare_rows": self.bare_rows}

    def asked(self, test: Sequence[Example], way: Way) -> Sequence[Example]:
        """The rows of a test file that are asked in a way."""
        chosen = test[: self.rows]
        return spread(chosen, self.bare_rows or len(chosen)) if way.bare else chosen


def spread(rows: Sequence[Example], count: int) -> Sequence[Example]:
    """So many rows, as far from each other as can be."""
    return [rows[at * len(rows) // count] for at in range(count)] if count < len(rows) else rows


def bench_tools(setup: ToolTests, parts: Sequence[str], *, as_json: bool) -> None:
    """Measure each part that is not in the folder yet, and show all that is."""
    folder = setup.folder
    if unknown := set(parts) - set(PARTS):
        raise DataError(folder, f"there is no part {', '.join(sorted(unknown))}", f"there are {', '.join(PARTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    with open_base(None) as base:
        bench = _Bench(base, setup)
        for part in parts:
            if known.get(part, {}).get("of") != setup.extent:
                known[part] = getattr(bench, part)() | {"of": setup.extent, "machine": machine()}
                file.write_text(json.dumps(known, indent=1) + "\n")
    print_json(known) if as_json else _show(known)


class _Bench:
    def __init__(self, base: Base, setup: ToolTests) -> None:
        self._base, self._setup = base, setup

    def cost(self) -> dict[str, Any]:
        return grammar_cost(self._base)

    def valid(self) -> dict[str, Any]:
        return valid_calls(self._base)

    def snips(self) -> dict[str, Any]:
        """A toolset plugin trained here on train.jsonl, without any schema in the prompt."""
        tools = tool_schemas(json.loads(self._file("snips_tools/tools.json").read_text()))
        trained = self._setup.folder / "snips"
        found: dict[str, Any] = {}
        seconds = trained / "seconds.json"
        if not seconds.exists():
            rows = read_examples(self._file("snips_tools/train.jsonl"))
            seconds.write_text(json.dumps(self._train(trained, rows, tools)))
        found["training_seconds"] = json.loads(seconds.read_text())
        test = read_examples(self._file("snips_tools/test.jsonl"))
        for way in (Way("plugin", (Use(trained / "plugin"),)), Way("bare base, schemas in the prompt")):
            found[way.name] = self._marked(test, way, _exactly, tools)
        return found

    def seal(self) -> dict[str, Any]:
        test = read_examples(self._file("seal_tools/test_unseen_tools.jsonl"))
        return {way.name: self._marked(test, way, _exactly, (), SEAL_TOKENS) for way in self._readers()}

    def bfcl(self) -> dict[str, Any]:
        test = read_examples(self._file("bfcl/test.jsonl"))
        found: dict[str, Any] = {}
        for way in self._readers():
            rows = self._setup.asked(test, way)
            replies = self._ask(rows, way, (), SEAL_TOKENS)
            right: dict[str, list[bool]] = {}
            for example, reply in zip(rows, replies, strict=True):
                mark = bfcl_right(reply.tool_calls, example.tools, example.raw["possible_answer"])
                right.setdefault(example.raw["category"], []).append(mark)
            simple = right.get("simple_python", []) + right.get("multiple", [])
            found[way.name] = {name: _share(marks) for name, marks in sorted(right.items())}
            found[way.name] |= {"simple and multiple": _share(simple), "rows": len(rows)}
        return found

    def _readers(self) -> list[Way]:
        shelf = load_toolset(self._setup.calling).shelf
        return [Way("calling plugin", (Use(shelf.get().path),)), Way("bare base")]

    def _train(self, folder: Path, rows: Sequence[Example], tools: tuple[ToolSchema, ...]) -> float:
        curriculum = DialogueCurriculum(
            self._setup.data, rows, self._base.template, max_tokens=SNIPS.max_tokens, context=self._base.context_length
        )
        start = starting_point(self._base, SNIPS.start)
        with training_bar() as bar:
            fitted = self._base.fit(curriculum.rows(), SNIPS, folder, start=start, resume=True, on_step=bar)
        learnt = {tool.name: tool.digest for tool in tools}
        Manifest(name="snips", kind="tool", base=self._base.fingerprint, tools=learnt).write(fitted.folder)
        fitted.folder.rename(folder / "plugin")
        return round(fitted.seconds, 1)

    def _marked(
        self, test: Sequence[Example], way: Way, mark: Mark, tools: tuple[ToolSchema, ...], most: int = MAX_TOKENS
    ) -> dict[str, Any]:
        rows = self._setup.asked(test, way)
        replies = self._ask(rows, way, tools, most)
        marks = [mark(example, reply) for example, reply in zip(rows, replies, strict=True)]
        found = {name: _share([m[name] for m in marks]) for name in marks[0]}
        return found | {"prompt tokens": statistics.fmean(r.usage.prompt_tokens for r in replies), "rows": len(rows)}

    def _ask(self, rows: Sequence[Example], way: Way, tools: tuple[ToolSchema, ...], most: int) -> list[Reply]:
        requests = [
            GenerationRequest(e.messages[:-1], way.stack, tools=e.tools or tools, max_tokens=most) for e in rows
        ]
        replies: list[Reply] = []
        for at in range(0, len(requests), AT_ONCE):
            with err.status(f"{way.name}: {at} of {len(requests)} rows ..."):
                replies += self._base.generate(requests[at : at + AT_ONCE])
        return replies

    def _file(self, name: str) -> Path:
        path = self._setup.data / name
        if not path.is_file():
            raise DataError(path, "is missing", "point --data at the folder with snips_tools, seal_tools and bfcl")
        return path


def _exactly(example: Example, reply: Reply) -> dict[str, bool]:
    wanted = example.messages[-1].tool_calls
    return {"right tool": right_tools(reply.tool_calls, wanted), "exact call": exact_calls(reply.tool_calls, wanted)}


def _share(marks: Sequence[bool]) -> float:
    return round(sum(marks) / max(1, len(marks)), 4)


def _show(found: dict[str, Any]) -> None:
    table = Table("what", "how", "number", title="tools")
    for part, values in found.items():
        for name, value in values.items():
            inner = value if isinstance(value, dict) else {"": value}
            for what, number in inner.items():
                shown = f"{number:.3g}" if isinstance(number, float) else str(number)
                table.add_row(part, f"{name} {what}".strip(), shown)
    out.print(table)
