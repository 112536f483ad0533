"""The command line as a user meets it: exit codes, one-line errors, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import loragent as la
from loragent.cli.main import app, main
from tests.conftest import dialogues, write_jsonl
from tests.memory.conftest import Words


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs ``loragent ARGS`` in an empty folder; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["loragent", *args])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_data_check_shows_mask_and_problems(run, tiny: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = write_jsonl(tmp_path / "d.jsonl", [*dialogues(3), dialogues(1)[0]])
    code, out, _ = run("data", "check", str(path), "--base", str(tiny))
    assert code == 0
    assert "4 rows (4 messages)" in out
    assert "«we come to room 0 soon<|im_end|>»" in out
    assert "line 4: the same as line 1" in out
    with path.open("a") as file:
        file.write("{\n")
    code, out, _ = run("data", "check", str(path), "--base", str(tiny), "--json")
    assert code == 1
    assert list(json.loads(out)["unusable"]) == ["5"]


def test_train_eval_run_and_plugins(  # type: ignore[no-untyped-def]
    run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_jsonl(tmp_path / "clerk.jsonl", dialogues(30))
    fast = ["--set", "epochs=3", "--set", "layers=2", "--set", "rank=4", "--set", "learning_rate=0.01"]
    code, out, err = run("train", "role", "--data", str(data), "--base", str(tiny), *fast)
    assert code == 0, err
    assert "published clerk@1" in out
    code, out, _ = run("train", "role", "clerk", "--base", str(tiny), *fast)
    assert code == 0
    assert "reproduces clerk@1" in out
    code, out, _ = run("train", "role", "clerk", "--base", str(tiny), *fast, "--set", "learning_rate=0.00001")
    assert code == 1
    assert "not published" in out
    code, out, _ = run("eval", "role", "clerk", "--base", str(tiny), "--json")
    assert [s["condition"] for s in json.loads(out)] == ["plugin", "no prompt"]
    held = Path("roles/clerk/eval.jsonl")
    write_jsonl(held, dialogues(30)[7:9])  # it holds other dialogues now
    assert run("eval", "role", "clerk", "--base", str(tiny), "--record", "--rows", "1")[0] == 2
    assert run("eval", "role", "clerk", "--base", str(tiny), "--record")[0] == 0
    code, out, _ = run("eval", "role", "clerk", "--base", str(tiny), "--json")
    manifest = json.loads(Path("roles/clerk/plugin/1/plugin.json").read_text())
    for scores, key in zip(json.loads(out), ("after", "before"), strict=True):
        assert manifest[key]["nll"] == pytest.approx(scores["nll"], abs=1e-4)
        assert manifest[key]["turns"] == 2
    code, out, _ = run("run", "clerk", "room 3 please", "--base", str(tiny), "--json")
    assert json.loads(out)["stack"][0]["name"] == "clerk"
    monkeypatch.setattr("loragent.memory.memory.MiniLM", Words)
    run("memory", "tell", "m", "Mira Osei", "room", "214")
    code, out, _ = run("run", "clerk", "Which room is Mira Osei in?", "--base", str(tiny), "--memory", "m", "--json")
    assert json.loads(out)["recalls"][0]["text"] == "Mira Osei's room is 214."
    code, out, _ = run("plugins", "ls", "--json")
    assert [(p["name"], p["versions"]) for p in json.loads(out)] == [("clerk", [1])]
    assert run("plugins", "export", "clerk", "copy")[0] == 0
    assert run("plugins", "import", "copy", "--name", "second", "--base", str(tiny))[0] == 0
    code, out, _ = run("plugins", "diff", "clerk", "second", "--json")
    assert "name" in json.loads(out)["fields"]


def test_a_set_of_tools_is_trained_and_scored(run, tiny: Path) -> None:  # type: ignore[no-untyped-def]
    folder = Path("tools/clock")
    folder.mkdir(parents=True)
    (folder / "toolset.toml").write_text("copies = 4\n[training]\nrank = 2\nlayers = 2\nepochs = 1\n")
    tool = 'import loragent as la\n\n@la.tool\ndef wake(hour: int) -> str:\n    "Wake a guest."\n    return "noted"\n'
    (folder / "tools.py").write_text(tool)
    call = {"name": "wake", "arguments": {"hour": "{hour}"}}
    write_jsonl(folder / "examples.jsonl", [{"say": "Wake me at {hour}", "call": call}])
    said, calls = {"role": "user", "content": "Wake me at 6"}, [{"name": "wake", "arguments": {"hour": 6}}]
    write_jsonl(folder / "eval.jsonl", [{"messages": [said, {"role": "assistant", "tool_calls": calls}]}])
    assert run("eval", "tool", "clock", "--base", str(tiny))[0] == 1
    assert run("train", "tool", "clock", "--base", str(tiny), "--force", "--set", "start=none")[0] == 0
    code, out, _ = run("eval", "tool", "clock", "--base", str(tiny), "--json")
    assert code == 0
    with_plugin, with_schemas = json.loads(out)
    assert with_plugin["prompt_tokens"] < with_schemas["prompt_tokens"]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["data", "check", "none.jsonl"], "DataError: none.jsonl: no such file"),
        (["plugins", "show", "nobody"], "PluginNotFound: no plugin 'nobody'"),
        (["eval", "role", "nobody"], "RoleError"),
        (["bench", "role", "--data", "."], "DataError: .: holds no roles.json"),
        (["demo"], "run it in a clone"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(run, args: list[str], why: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run(*args)
    assert code == 1
    assert out == ""
    assert why in err
    assert len(err.strip().splitlines()) == 1


def test_usage_errors_are_exit_code_2() -> None:
    assert CliRunner().invoke(app, ["plugins", "show"]).exit_code == 2
    assert CliRunner().invoke(app, ["train", "role", "--set", "epochs", "x"]).exit_code in (1, 2)


def test_doctor_names_what_is_missing(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("doctor", "--json")
    findings = {f["what"]: f for f in json.loads(out)}
    assert code == 1
    assert not findings["base"]["ok"]
    assert "doctor --fetch" in findings["base"]["mend"]


def test_the_module_starts_without_importing_models_first() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "loragent", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "doctor" in out


def test_version_is_the_packages() -> None:
    assert la.__version__ == "0.1.0"


def test_a_memory_is_told_shown_and_made_to_forget(run) -> None:  # type: ignore[no-untyped-def]
    assert run("memory", "tell", "m", "Mira Osei", "room", "214", "--source", "desk")[:2] == (
        0,
        "1  Mira Osei, room: 214\n",
    )
    run("memory", "tell", "m", "Mira Osei", "room", "305")
    code, out, _ = run("memory", "history", "m", "mira osei", "--json")
    assert (code, [row["text"] for row in json.loads(out)]) == (0, ["Mira Osei, room: 214", "Mira Osei, room: 305"])
    assert [row["text"] for row in json.loads(run("memory", "ls", "m", "--json")[1])] == ["Mira Osei, room: 305"]
    assert run("memory", "forget", "m", "Mira Osei")[1] == "forgot 2 of Mira Osei\n"
    assert "erased" in run("memory", "log", "m")[1]
    run("memory", "tell", "m", "I", "form of address", "Captain", "--user", "mira")
    scopes = [row["scope"]["user"] for row in json.loads(run("memory", "history", "m", "mira", "--json")[1])]
    assert scopes == ["mira"]
    assert run("memory", "forget", "m", "mira")[1] == "forgot 1 of mira\n"
    run("memory", "tell", "m", "I", "sign-off", "Cheers", "--user", "mira")
    assert run("memory", "forget", "m", "--user", "mira")[1] == "forgot 1 of mira\n"
    assert run("memory", "forget", "m")[0] == 1
    code, _, err = run("memory", "revert", "m")
    assert code == 1
    assert "sleep first" in err
    assert run("memory", "tell", "m", "", "room", "1")[0] == 1
    assert run("memory", "tell", "m", "The bar is closed on Mondays.", "--note")[1].endswith(
        "The bar is closed on Mondays.\n"
    )
