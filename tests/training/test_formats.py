"""Data as people bring it, and as it goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import loragent as la
from loragent.training import read_examples, scan_file
from tests.conftest import write_jsonl

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
FORMS = {
    "messages": {"messages": MESSAGES},
    "sharegpt": {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
    "alpaca": {"instruction": "hi", "input": "", "output": "hello"},
    "prompt/completion": {"prompt": "hi", "completion": " hello"},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_told_apart(tmp_path: Path, form: str) -> None:
    scan = scan_file(write_jsonl(tmp_path / "d.jsonl", [FORMS[form]]))
    assert scan.formats == {form: 1}
    assert [(m.role, m.content) for m in scan.examples[0].messages] == [("user", "hi"), ("assistant", "hello")]


def test_tool_calls_and_results_are_kept(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "price", "arguments": '{"nights": 2}'}}
    row = {
        "messages": [
            {"role": "user", "content": "how much"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "name": "price", "content": "240"},
            {"role": "assistant", "content": "240 euros"},
        ]
    }
    (example,) = read_examples(write_jsonl(tmp_path / "d.jsonl", [row]))
    assert example.messages[1].tool_calls[0].arguments == {"nights": 2}
    assert example.messages[2].role == "tool"
    assert la.Message.from_wire(example.messages[1].to_wire()) == example.messages[1]


def test_sharegpt_function_calls(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "how much"},
        {"from": "function_call", "value": '{"name": "price", "arguments": {"nights": 2}}'},
        {"from": "observation", "value": "240"},
        {"from": "gpt", "value": "240 euros"},
    ]
    (example,) = read_examples(write_jsonl(tmp_path / "d.jsonl", [{"conversations": turns}]))
    assert [m.role for m in example.messages] == ["user", "assistant", "tool", "assistant"]
    assert example.messages[1].tool_calls[0].name == "price"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"messages": [', "broken JSON"),
        ("[1, 2]", "not an object"),
        ('{"text": "hi"}', "unknown form"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "no assistant turn"),
        ('{"messages": [{"role": "assistant", "content": " "}]}', "only empty"),
        ('{"messages": [{"content": "hi"}]}', "missing or odd field"),
        ('{"messages": [{"role": "wizard", "content": "hi"}]}', "role"),
    ],
)
def test_a_bad_row_is_named_by_line(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(FORMS["messages"]) + "\n" + line + "\n")
    with pytest.raises(la.DataError, match=why) as caught:
        read_examples(path)
    assert caught.value.line == 2
    assert "data check" in str(caught.value)
    assert list(scan_file(path).problems) == [2]


def test_files_that_are_missing_empty_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(la.DataError, match="no such file"):
        read_examples(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(la.DataError, match="holds no rows"):
        read_examples(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(la.DataError, match="UTF-8"):
        read_examples(tmp_path / "binary.jsonl")


def test_alpaca_history_keeps_its_order(tmp_path: Path) -> None:
    row = {"instruction": "c", "output": "C", "history": [["a", "A"], ["b", "B"]]}
    (example,) = read_examples(write_jsonl(tmp_path / "d.jsonl", [row]))
    assert [m.content for m in example.messages] == ["a", "A", "b", "B", "c", "C"]


def test_line_separators_inside_a_row_are_no_line_ends(tmp_path: Path) -> None:
    row = {"prompt": "a\u2028b", "completion": "c\u0085d"}
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_examples(path)[0].messages[0].content == "a\u2028b"


def test_duplicates_are_noted(tmp_path: Path) -> None:
    scan = scan_file(write_jsonl(tmp_path / "d.jsonl", [FORMS["messages"], FORMS["alpaca"]]))
    assert scan.duplicates == {2: 1}
