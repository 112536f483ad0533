"""What the documents show works, and what they name exists."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import loragent as la
from loragent.cli.main import app

ROOT = Path(__file__).parent.parent


def code(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_readmes_page_of_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script = tmp_path / "readme.py"
    script.write_text("\n".join(code("python")))
    space = runpy.run_path(str(script))
    assert len(space["replies"]) == 3
    space["base"].close()


def test_the_readmes_code_names_what_is_exported() -> None:
    for name in re.findall(r"\bla\.(\w+)", "\n".join(code("python"))):
        assert name in la.__all__


def test_the_readmes_commands_exist() -> None:
    known = {c.name for c in app.registered_commands} | {g.name for g in app.registered_groups}
    for command in re.findall(r"^loragent (\w+)", "\n".join(code("")), re.MULTILINE):
        assert command in known


def test_every_module_has_a_line_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "loragent").rglob("*.py"):
        if not path.name.startswith("__"):
            assert re.search(rf"`{path.stem}`|`{path.name}`", text), f"{path.name} has no line"
