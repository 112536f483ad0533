"""``loragent bench role``: role plugins on STAR (Mosig et al. 2020) against the prompts they replace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..base import Base
from ..core import DataError, Use
from ..learning import Condition, DialogueCurriculum, Scores, evaluate, rates, shipped_starter, starting_point
from ..training import Example, Fitted, TrainSettings, plot_loss, plot_scores, read_examples
from ..training.precision import fast_bfloat16
from .bench_report import mean, show
from .console import err, out, plain, print_json, training_bar
from .measure import Resident, machine

CURVE = (20, 70, 200, 10_000)
PLOTTED = {"action": "next action right", "call_exact": "tool call exact"}


def bench_role(
    data: Path,
    folder: Path,
    groups: Sequence[str] | None,
    curve: Sequence[str],
    *,
    held_out: bool,
    settings: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Train and score each group; results are kept as they come, so that a stopped run goes on where it was."""
    if not (data / "roles.json").is_file():
        raise DataError(data, "holds no roles.json", "point --data at the STAR folder")
    bench = _Bench(data, folder, held_out, TrainSettings.parse(dict(settings), "--set"))
    chosen = list(groups or sorted({e.raw["group"] for e in bench.small_train}))
    # What is asked for comes first, so that a run that is stopped has it; the yardsticks take longest.
    for group in chosen:
        bench.train(group)
        bench.score(group, "plugin")
    for condition in ("long prompt", "short prompt", "no prompt"):
        for group in chosen:
            bench.score(group, condition)
    for group in curve:
        bench.curve(group)
    if as_json:
        print_json(bench.results | {"machine": machine(), "mean": mean(bench.results, chosen)})
    else:
        show(bench.results, chosen)
        out.print(f"\nkept in {bench.file}")
    if curve:
        plot_scores({g: bench.results["curve"][g] for g in curve}, PLOTTED, folder / "curve.png")


class _Bench:
    def __init__(self, data: Path, folder: Path, held_out: bool, settings: TrainSettings) -> None:
        self._folder, self._settings = folder, settings
        self._roles: dict[str, dict[str, Any]] = json.loads((data / "roles.json").read_text())
        self.small_train = read_examples(data / "small_train.jsonl")
        self._train = read_examples(data / "train.jsonl")
        self._test = _left_out(self._train, self.small_train) if held_out else read_examples(data / "small_test.jsonl")
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "results.json"
        known = json.loads(self.file.read_text()) if self.file.exists() else {}
        files = [
            (data / f).read_bytes() for f in ("roles.json", "small_train.jsonl", "small_test.jsonl", "train.jsonl")
        ]
        starter = shipped_starter() if settings.start == "auto" else None
        taken_with = f"{settings.digest()} {held_out} {starter.key if starter else ''}"
        key = hashlib.sha256(b"".join(files) + taken_with.encode()).hexdigest()[:16]
        if known and known.get("key") != key:
            raise DataError(self.file, "was taken with other settings or data", "choose another --out, or remove it")
        self.results: dict[str, Any] = {"key": key, "groups": {}, "curve": {}, **known}
        self._base: Base | None = None

    @property
    def base(self) -> Base:
        """Loaded at the first measurement that is not there yet."""
        if self._base is None:
            self._base = Base.load(dtype="bfloat16" if fast_bfloat16() else None)
        return self._base

    def train(self, name: str) -> None:
        """One plugin on the group's 70 dialogues."""
        if name in self.results["groups"]:
            return
        rows = [e for e in self.small_train if e.raw["group"] == name]
        fitted, growth = self._fit(name, rows, "70")
        found = {
            "folder": str(fitted.folder),
            "train_seconds": round(fitted.seconds, 1),
            "resident_growth": round(growth / self._base_bytes(), 3),
            "scores": {},
        }
        self._keep("groups", name, found)

    def score(self, name: str, condition: str) -> None:
        """One condition on the group's held-out dialogues."""
        found = self.results["groups"][name]
        if condition in found["scores"]:
            return
        test = [e for e in self._test if e.raw["group"] == name]
        known = {
            "plugin": Condition("plugin", (Use(found["folder"]),)),
            "no prompt": Condition("no prompt"),
            "short prompt": Condition("short prompt", system=lambda e: str(self._role(e)["prompt_short"])),
            "long prompt": Condition("long prompt", system=lambda e: str(self._role(e)["prompt_long"])),
        }
        scores = self._score(name, test, known[condition])
        found["scores"][condition] = plain(asdict(scores))
        if condition == "plugin":
            found["trained_tasks"] = self._on_trained_tasks(name, test, scores)
        self._keep("groups", name, found)

    def curve(self, name: str) -> None:
        """Plugins on 20, 70, 200 and all dialogues of the group's full training file, scored on the same rows."""
        test = [e for e in self._test if e.raw["group"] == name]
        roles = {e.raw["role"] for e in self.small_train if e.raw["group"] == name}
        small = [e for e in self.small_train if e.raw["group"] == name]
        held = {e.raw["id"] for e in test}
        used = {e.raw["id"] for e in small}
        rest = [e for e in self._train if e.raw["group"] == name and e.raw["id"] not in held | used]
        # The small file's dialogues first, then others of its roles, then the group's other roles.
        ordered = [*small, *sorted(rest, key=lambda e: e.raw["role"] not in roles)]
        points, found = self.results["curve"].setdefault(name, {}), self.results["groups"][name]
        for count in CURVE:
            rows = ordered[:count]
            if str(len(rows)) in points:
                continue
            if rows == small:
                score, seconds = found["scores"]["plugin"], found["train_seconds"]
            else:
                fitted, _ = self._fit(name, rows, str(len(rows)))
                seconds = round(fitted.seconds, 1)
                score = asdict(self._score(name, test, Condition("plugin", (Use(fitted.folder),))))
            points[str(len(rows))] = {k: score[k] for k in ("action", "call_exact")} | {"train_seconds": seconds}
            self._keep("curve", name, points)

    def _on_trained_tasks(self, name: str, test: Sequence[Example], scores: Scores) -> dict[str, Any]:
        """The turns of tasks that the group's small training file has; the others are new to the plugin."""
        tasks = {e.raw["role"] for e in self.small_train if e.raw["group"] == name}
        marks = [sample.score for sample in scores.samples if test[sample.row].raw["role"] in tasks]
        return rates(marks) | {"turns": len(marks)}

    def _role(self, example: Example) -> dict[str, Any]:
        return self._roles[example.raw["role"]]

    def _score(self, group: str, test: Sequence[Example], condition: Condition) -> Scores:
        with err.status(f"{group}: scoring {condition.name} on {len(test)} dialogues ..."):
            return evaluate(self.base, test, condition, lambda e: self._role(e)["replies"])

    def _fit(self, group: str, examples: Sequence[Example], tag: str) -> tuple[Fitted, int]:
        """Train; returns the run and by how many bytes the process grew meanwhile."""
        base = self.base
        curriculum = DialogueCurriculum(
            Path(f"{group}.jsonl"),
            examples,
            base.template,
            max_tokens=self._settings.max_tokens,
            context=base.context_length,
        )
        rows = curriculum.rows()
        base.score(rows[:1])  # touches every weight, so that reading them is not counted as growth
        err.print(f"{group}: training on {len(examples)} dialogues")
        workdir = self._folder / group / tag
        with training_bar() as bar, Resident() as memory:
            fitted = base.fit(
                rows,
                self._settings,
                workdir,
                start=starting_point(base, self._settings.start),
                data_sha256=curriculum.data_sha256,
                resume=True,
                on_step=bar,
            )
        plot_loss(workdir / "metrics.jsonl", workdir / "loss.png")
        return fitted, memory.growth

    def _base_bytes(self) -> int:
        return 4 * sum(o * i for o, i in self.base.shapes.values()) + 4 * self.base.embedding_size

    def _keep(self, kind: str, name: str, value: Any) -> None:
        self.results[kind][name] = value
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps(self.results, indent=1) + "\n")
        temporary.replace(self.file)


def _left_out(train: Sequence[Example], small: Sequence[Example]) -> list[Example]:
    """Training rows like the small test's that no small plugin is trained on: the rows to tune on."""
    used = {e.raw["id"] for e in small}
    roles = {e.raw["role"] for e in small}
    fits: Callable[[Example], bool] = lambda e: (  # noqa: E731
        e.raw["id"] not in used
        and e.raw["role"] in roles
        and any(m.tool_calls for m in e.messages)
        and sum(len(m.content) for m in e.messages) < 1500
    )
    kept: dict[str, list[Example]] = {}
    for example in filter(fits, train):
        kept.setdefault(example.raw["group"], []).append(example)
    return [e for found in kept.values() for e in found[:20]]
