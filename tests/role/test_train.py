"""From role data, or a long prompt, to a published plugin; and what goes wrong on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import loragent as la
from loragent.engine import Sequence
from loragent.engine.runner import Runner
from loragent.learning import Condition, DialogueCurriculum, evaluate
from loragent.role import load_role
from loragent.training import judge, read_examples
from tests.conftest import dialogues, write_jsonl

FAST: dict[str, Any] = {"rank": 4, "layers": 2, "epochs": 4, "learning_rate": 1e-2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "roles" / "clerk"
    write_jsonl(place / "train.jsonl", dialogues(24))
    write_jsonl(place / "eval.jsonl", dialogues(6))
    (place / "role.toml").write_text('name = "clerk"\npersona = "You are a clerk."\nprompt = "A long policy."\n')
    return place


def test_a_role_folder_is_trained_and_published(base: la.Base, folder: Path) -> None:
    report = la.train_role(folder, base=base, settings=FAST)
    assert report.published
    assert report.after.nll < report.before.nll
    assert str(report.plugin) == "clerk@1"
    assert report.seconds > 0
    assert report.samples[0].keys() == {"question", "reference", "base", "answer"}
    files = {p.name for p in (folder / "plugin" / "1").iterdir()}
    assert {"plugin.json", "adapter_model.safetensors", "adapter_config.json", "metrics.jsonl", "samples.json"} <= files
    manifest = report.plugin.manifest if report.plugin else None
    assert manifest
    assert manifest.after["nll"] == pytest.approx(report.after.nll, abs=1e-3)
    reply = la.Agent("clerk", base=base, role=folder).run("room 3 please")
    assert str(reply.stack[0]) == "clerk@1"
    assert base.generate([la.GenerationRequest("hi", ["clerk"], max_tokens=2)])[0].stack[0].version == 1


def test_a_plugin_that_does_not_beat_its_incumbent_is_not_published(base: la.Base, folder: Path) -> None:
    first = la.train_role(folder, base=base, settings=FAST)
    again = la.train_role(folder, base=base, settings=FAST)
    assert (again.published, again.reproduced) == (False, True)
    assert "clerk@1" in again.reasons[0]
    assert str(again.plugin) == str(first.plugin)
    forced = la.train_role(folder, base=base, settings=FAST, force=True)
    assert str(forced.plugin) == "clerk@2"
    assert forced.plugin
    assert forced.plugin.manifest.parents == ()  # it replaces clerk@1 but did not begin with it


def test_a_role_from_data_holds_out_its_own_rows(base: la.Base, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "mine.jsonl", dialogues(30))
    report = la.train_role(data=data, name="mine", out=tmp_path / "mine", base=base, settings=FAST)
    assert report.published
    train, held = (read_examples(tmp_path / "mine" / f) for f in ("train.jsonl", "eval.jsonl"))
    assert (len(train), len(held)) == (27, 3)
    assert not {e.messages[0].content for e in train} & {e.messages[0].content for e in held}
    other = write_jsonl(tmp_path / "other.jsonl", dialogues(40))
    with pytest.raises(la.RoleError, match="other rows"):
        la.train_role(data=other, name="mine", out=tmp_path / "mine", base=base)
    assert len(read_examples(tmp_path / "mine" / "train.jsonl")) == 27


def test_a_long_prompt_is_distilled(base: la.Base, tmp_path: Path) -> None:
    (tmp_path / "policy.md").write_text("Always say please and thank you, and name the room.")
    queries = write_jsonl(tmp_path / "q.jsonl", [{"query": f"room {i}?"} for i in range(24)])
    report = la.train_role(
        prompt=tmp_path / "policy.md", queries=queries, name="polite", out=tmp_path / "polite", base=base,
        settings={**FAST, "layers": 0, "epochs": 6},
    )  # fmt: skip
    assert report.after.nll < report.before.nll
    assert load_role(tmp_path / "polite").prompt.startswith("Always say please")


def test_a_folder_is_made_whole_or_not_at_all(base: la.Base, tmp_path: Path) -> None:
    long = {"messages": [{"role": "user", "content": "x" * 2000}, {"role": "assistant", "content": "y"}]}
    data = write_jsonl(tmp_path / "mine.jsonl", [*dialogues(20), long])
    with pytest.raises(la.DataError) as caught:
        la.train_role(data=data, name="mine", out=tmp_path / "mine", base=base)
    assert (caught.value.path, caught.value.line) == (data, 21)
    with pytest.raises(la.DataError, match="more rows"):
        la.train_role(
            data=write_jsonl(tmp_path / "one.jsonl", dialogues(1)), name="one", out=tmp_path / "mine", base=base
        )
    with pytest.raises(la.PluginRefused, match="plugin name"):
        la.train_role(data=data, name="../mine", base=base)
    assert not (tmp_path / "mine").exists()


def test_a_run_stopped_before_publishing_is_not_lost(
    base: la.Base, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("loragent.learning.road._publish", full)
        with pytest.raises(la.TrainingError, match="No space left"):
            la.train_role(folder, base=base, settings=FAST)
    steps: list[object] = []
    assert la.train_role(folder, base=base, settings=FAST, resume=True, on_step=steps.append).published
    assert steps == []


def test_few_rows_are_a_warning(base: la.Base, folder: Path) -> None:
    write_jsonl(folder / "train.jsonl", dialogues(5))
    report = la.train_role(folder, base=base, settings=FAST, force=True)
    assert "5 rows are few" in report.warnings[0]


def test_long_rows_are_cut_behind_a_whole_answer(base: la.Base, tmp_path: Path) -> None:
    turns = [m for i in range(8) for m in dialogues(8)[i]["messages"]]  # type: ignore[attr-defined]
    path = write_jsonl(tmp_path / "d.jsonl", [{"messages": turns}])
    curriculum = DialogueCurriculum(path, read_examples(path), base.template, max_tokens=150, context=512)
    (row,) = curriculum.rows()
    assert curriculum.cut == [1]
    assert len(row.ids) <= 150
    assert row.mask[-1]
    assert row.ids[-1] == 2
    with pytest.raises(la.DataError, match="context"):
        DialogueCurriculum(path, read_examples(path), base.template, max_tokens=150, context=200).rows()
    with pytest.raises(la.DataError, match="max_tokens"):
        DialogueCurriculum(path, read_examples(path), base.template, max_tokens=20, context=512).rows()


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("name = ", "can't be read"),
        ('nme = "x"', "unknown field nme"),
        ("persona = 3", "persona is 3: .* string"),
        ('kind = "plan"', "kind is 'plan': .*'role' or 'skill'"),
        ("[training]\nrank = 0", "rank"),
    ],
)
def test_a_bad_role_file_is_named(base: la.Base, folder: Path, toml: str, why: str) -> None:
    (folder / "role.toml").write_text(toml)
    with pytest.raises(la.LoragentError, match=why) as caught:
        la.train_role(folder, base=base)
    assert "role.toml" in str(caught.value) or "rank" in str(caught.value)


def test_an_untrained_role_says_how_to_train_it(base: la.Base, folder: Path) -> None:
    with pytest.raises(la.RoleError, match="loragent train role"):
        la.Agent("clerk", base=base, role=folder)
    with pytest.raises(la.RoleError, match="no folder"):
        la.Agent("clerk", base=base, role="nowhere/clerk")


def test_a_broken_row_stops_before_anything_is_written(base: la.Base, folder: Path) -> None:
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"messages": \n')
    with pytest.raises(la.DataError) as caught:
        la.train_role(folder, base=base)
    assert caught.value.line == 25
    assert not (folder / "plugin").exists()


def test_conditions_compare_prompts_on_the_same_rows(base: la.Base, folder: Path) -> None:
    examples = read_examples(folder / "eval.jsonl")
    bare = evaluate(base, examples, Condition("no prompt"))
    long = evaluate(base, examples, Condition("long prompt", system="A long policy. " * 5))
    assert (bare.turns, long.turns) == (6, 6)
    assert long.prompt_tokens > bare.prompt_tokens
    assert bare.first_token_ms > 0
    assert json.dumps(bare.numbers())


def test_first_tokens_are_timed_with_nothing_known(
    folder: Path, base: la.Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turns were answered just before: what they read must not be there when a fresh conversation is timed."""
    read: list[int] = []
    real = Runner.read

    def counted(self: Runner, rows: list[Sequence], counts: list[int], *more: object) -> torch.Tensor:
        read.append(sum(counts))
        return real(self, rows, counts, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "read", counted)
    policy = "A long policy. " * 5
    evaluate(base, read_examples(folder / "eval.jsonl"), Condition("long prompt", system=policy))
    assert min(read[-3:]) > len(base.template.prompt_ids([la.Message(role="system", content=policy)]))


def test_the_gate_gives_its_reasons() -> None:
    good = {"nll": 1.0, "reply_match": 0.5}
    assert judge(good, {"nll": 2.0, "reply_match": 0.1}, None).passed
    assert judge(good, {"nll": 2.0}, {"nll": 1.1}).passed
    worse = judge(good, {"nll": 0.9, "reply_match": 0.6}, {"nll": 0.8}, "clerk@3")
    assert not worse.passed
    assert [r.split()[0] for r in worse.reasons] == ["nll", "reply_match", "nll"]
    assert "clerk@3" in worse.reasons[2]
    standing = {"nll": 1.0, "reply_match": 0.6, "call_exact": 0.7}
    assert judge(
        standing | {"nll": 1.004, "call_exact": 0.8}, {"nll": 2.0}, standing
    ).passed  # as likely, and more right
    assert not judge(standing | {"nll": 1.01, "call_exact": 0.8}, {"nll": 2.0}, standing).passed
    assert not judge(standing | {"nll": 0.999}, {"nll": 2.0}, standing).passed
    assert not judge(standing | {"nll": 0.9, "reply_match": 0.57}, {"nll": 2.0}, standing).passed
    fallen = judge({"nll": 1.0, "call_exact": 0.1}, {"nll": 2.0, "call_exact": 0.0}, {"nll": 1.5, "call_exact": 0.5})
    assert "call_exact" in fallen.reasons[0]
