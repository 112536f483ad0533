"""Several plugins in one pass: each ends as it does alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import loragent as la
from loragent.core import TrainingRow
from loragent.training import Fitted, Job, TrainSettings, joint
from tests.training.test_fit import SETTINGS, Killed, losses, rows

__all__ = ["rows"]  # the fixture


def varied(rows: list[TrainingRow]) -> list[tuple[list[TrainingRow], TrainSettings]]:
    """Jobs with data, ranks, rates, lengths and depths of their own."""
    return [
        (rows[:12], SETTINGS),
        (rows[12:], SETTINGS.model_copy(update={"rank": 7, "learning_rate": 3e-3, "epochs": 2, "seed": 5})),
        (rows[6:18], SETTINGS.model_copy(update={"batch_rows": 3, "variant": "rslora", "micro_tokens": 256})),
        (rows[:8], SETTINGS.model_copy(update={"layers": 0, "epochs": 1})),
        (rows[8:16], SETTINGS.model_copy(update={"dropout": 0.5, "epochs": 1})),
    ]


def test_each_ends_as_it_does_alone(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = joint.losses
    monkeypatch.setattr(joint, "losses", lambda parts: (sizes.append(len(parts)), real(parts))[1])
    taught = base.teach(rows[:12])
    jobs = varied(rows)
    soft = [TrainingRow(r.ids, r.mask, r.line, t) for r, t in zip(rows, taught, strict=False)]
    jobs.append((soft, SETTINGS.model_copy(update={"epochs": 1})))
    found = base.fit_many([Job(r, s, tmp_path / f"many-{n}") for n, (r, s) in enumerate(jobs)])
    assert max(sizes) >= 3
    for n, ((own, settings), fitted) in enumerate(zip(jobs, found, strict=True)):
        assert isinstance(fitted, Fitted)
        alone = base.fit(own, settings, tmp_path / f"alone-{n}")
        assert losses(tmp_path / f"many-{n}") == pytest.approx(losses(tmp_path / f"alone-{n}"), rel=2e-2)
        assert fitted.best_epoch == alone.best_epoch
        mine, others = (load_file(f.folder / "adapter_model.safetensors") for f in (fitted, alone))
        for name, tensor in others.items():
            torch.testing.assert_close(mine[name].float(), tensor.float(), atol=0.02, rtol=0.1)


def test_a_loss_that_is_not_finite_is_no_concern_of_the_others(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path
) -> None:
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30})
    good, bad = base.fit_many([Job(rows, SETTINGS, tmp_path / "good"), Job(rows, wild, tmp_path / "bad")])
    assert isinstance(bad, la.TrainingError)
    assert isinstance(good, Fitted)
    base.fit(rows, SETTINGS, tmp_path / "alone")
    assert losses(tmp_path / "good") == pytest.approx(losses(tmp_path / "alone"), rel=2e-2)


def test_a_killed_run_resumes_each(base: la.Base, rows: list[TrainingRow], tmp_path: Path) -> None:
    def jobs(place: str, resume: bool = False, kill: int = 0) -> list[Job]:
        def stop(step: object) -> None:
            if step.step == kill:  # type: ignore[attr-defined]
                raise Killed

        settings = SETTINGS, SETTINGS.model_copy(update={"seed": 4, "epochs": 3})
        return [Job(rows, s, tmp_path / f"{place}-{n}", resume=resume, on_step=stop) for n, s in enumerate(settings)]

    with pytest.raises(Killed):
        base.fit_many(jobs("killed", kill=8))
    base.fit_many(jobs("killed", resume=True))
    base.fit_many(jobs("whole"))
    for n in range(2):
        assert losses(tmp_path / f"killed-{n}") == pytest.approx(losses(tmp_path / f"whole-{n}"), rel=2e-2)


def test_two_jobs_in_one_folder_and_jobs_without_rows_are_refused(
    base: la.Base, rows: list[TrainingRow], tmp_path: Path
) -> None:
    with pytest.raises(la.TrainingError, match="another training runs"):
        base.fit_many([Job(rows, SETTINGS, tmp_path / "one"), Job(rows, SETTINGS, tmp_path / "one")])
    with pytest.raises(la.TrainingError, match="no rows"):
        base.fit_many([Job(rows, SETTINGS, tmp_path / "one"), Job([], SETTINGS, tmp_path / "two")])
    assert base.fit_many([]) == []
