"""The public face is what ``__all__`` says, and nothing of it is private."""

from __future__ import annotations

import importlib
import inspect

import pytest

import loragent as la
from loragent.core import errors


def test_every_export_is_there_and_documented() -> None:
    for name in la.__all__:
        value = getattr(la, name)
        if name != "__version__":
            assert inspect.getdoc(value), f"{name} has no docstring"


@pytest.mark.parametrize("floor", ["core", "model", "plugin", "engine", "training", "role", "agent"])
def test_floors_have_an_explicit_face(floor: str) -> None:
    module = importlib.import_module(f"loragent.{floor}")
    assert module.__all__ == sorted(module.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    for name in module.__all__:
        assert hasattr(module, name)


def test_the_error_tree_is_as_drawn() -> None:
    drawn = errors.__doc__ or ""
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, la.LoragentError)]
    for error in found:
        assert error.__name__ in drawn
    exported = {c.__name__ for c in found}
    assert exported <= set(la.__all__)


def test_an_error_is_one_line_with_a_way_out() -> None:
    error = la.DataError("rows.jsonl", "broken JSON", "mend it", line=7)
    assert str(error) == "rows.jsonl:7: broken JSON — mend it"
    assert (error.line, error.way_out) == (7, "mend it")
