"""The Harbour Hotel's data is as broad as it says, and its evaluation rows are its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from loragent.core import tool_schemas
from loragent.engine import is_call_of
from loragent.memory.passages import pieces
from loragent.memory.writer import Reading, facts_of
from loragent.role import load_role
from loragent.tool import load_tools
from loragent.training import read_examples, scan_file

ROLES = Path(__file__).parent.parent / "roles"
NAMES = ("concierge", "reservations", "housekeeping")


@pytest.mark.parametrize("name", NAMES)
def test_enough_varied_dialogues(name: str) -> None:
    role = load_role(ROLES / name)
    train, held = read_examples(role.train_file), read_examples(role.eval_file)
    assert len(train) >= 200
    assert len(held) >= 40
    assert not scan_file(role.train_file).duplicates
    assert sum(sum(m.role == "assistant" for m in e.messages) > 1 for e in train) >= len(train) / 2
    tags = {tag for e in train for tag in e.raw["tags"]}
    assert {"typo", "angry", "refusal", "offtopic", "handover", "multiturn"} <= tags


@pytest.mark.parametrize("name", NAMES)
def test_no_evaluation_dialogue_is_trained_on(name: str) -> None:
    role = load_role(ROLES / name)
    opening = {e.messages[0].content.lower() for e in read_examples(role.train_file) if len(e.messages[0].content) > 20}
    assert not opening & {e.messages[0].content.lower() for e in read_examples(role.eval_file)}


@pytest.mark.parametrize("name", NAMES)
def test_hand_overs_go_to_colleagues(name: str) -> None:
    role = load_role(ROLES / name)
    calls = [c for e in read_examples(role.train_file) for m in e.messages if m.trained for c in m.tool_calls]
    assert {c.name for c in calls} == {"hand_over"}
    assert {c.arguments["to"] for c in calls} == set(NAMES) - {name}
    assert all(set(c.arguments) == {"to", "about"} for c in calls)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["train", "eval"])
def test_tools_are_called_by_others_with_valid_arguments_and_read(name: str, part: str) -> None:
    tools = {tool.name: tool for tool in tool_schemas(load_tools(ROLES.parent / "tools" / "hotel"))}
    seen = 0
    for example in read_examples(ROLES / name / f"{part}.jsonl"):
        for message, behind in pairwise(example.messages):
            for call in message.tool_calls:
                if call.name != "hand_over":
                    seen += 1
                    assert not message.trained
                    assert is_call_of(tools[call.name], call)
                    assert (behind.role, behind.name) == ("tool", call.name)
    assert seen >= 12


def test_the_starters_dialogues_are_what_its_program_composes(tmp_path: Path) -> None:
    starter = ROLES / "starter"
    for part in ("generate.py", "values.py", "words.json"):
        shutil.copy(starter / part, tmp_path / part)
    shutil.copytree(starter / "domains", tmp_path / "domains")
    subprocess.run([sys.executable, str(tmp_path / "generate.py")], check=True, capture_output=True)
    for name in ("train.jsonl", "eval.jsonl"):
        assert (tmp_path / name).read_bytes() == (starter / name).read_bytes()


def test_the_starters_calls_hold_only_what_was_said() -> None:
    examples = read_examples(ROLES / "starter" / "train.jsonl")
    assert len({e.raw["domain"] for e in examples}) == 48
    assert not scan_file(ROLES / "starter" / "train.jsonl").duplicates
    for example in examples:
        said = [m.content.lower() for m in example.messages if m.role == "user"]
        codes = [v for m in example.messages for c in m.tool_calls for v in c.arguments.values() if _is_code(v)]
        assert all(any(code.lower() in text for text in said) for code in codes)
        assert "{" not in "".join(m.content for m in example.messages if m.role == "assistant")


def _is_code(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}|\d{8}|[A-Z]{2}\d{4}", value) is not None


@pytest.mark.parametrize("part", ["train", "eval"])
def test_the_memory_writers_facts_stand_in_their_texts(part: str) -> None:
    examples = read_examples(ROLES / "memory-writer" / f"{part}.jsonl")
    now = datetime(2026, 11, 26, tzinfo=UTC)
    texts = [example.messages[0].content for example in examples]
    assert len(set(texts)) == len(texts) >= (1100 if part == "train" else 95)
    without = lost = unplaced = 0
    for text, example in zip(texts, examples, strict=True):
        reading = Reading.model_validate_json(example.messages[1].content)
        unplaced += len(reading.facts) - len(facts_of(text, reading, "I", now))
        written = [fact.model_dump(exclude_none=True) for fact in reading.facts]
        copied = {fact.get(field) for fact in written for field in ("subject", "value", "since")} - {"I", None}
        lost += len(copied - set(pieces(text)))
        assert (
            json.dumps({"facts": written}, ensure_ascii=False) == example.messages[1].content
        )  # as the grammar has it
        without += not reading.facts
    assert 0.2 < without / len(texts) < 0.3
    assert lost < 5  # that the writer's grammar doesn't let it write
    assert unplaced < 8  # from Whitsun on, and the like
    other = "eval" if part == "train" else "train"
    assert not set(texts) & {e.messages[0].content for e in read_examples(ROLES / "memory-writer" / f"{other}.jsonl")}
