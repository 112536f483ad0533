"""The Harbour Hotel's data is as broad as it says, and its evaluation rows are its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from loragent.role import load_role
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
    calls = [c for e in read_examples(role.train_file) for m in e.messages for c in m.tool_calls]
    assert {c.name for c in calls} == {"hand_over"}
    assert {c.arguments["to"] for c in calls} == set(NAMES) - {name}
    assert all(set(c.arguments) == {"to", "about"} for c in calls)
