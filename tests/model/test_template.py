"""Tokens for training and inference come from one function, and agree with stock transformers."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

import loragent as la
from loragent.model import ChatTemplate

WIRE: list[dict[str, Any]] = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "how much?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "price", "arguments": {"nights": 2, "für": "Zoë"}}}],
    },
    {"role": "tool", "name": "price", "content": '{"euros": 240}'},
    {"role": "assistant", "content": "240 euros."},
]
MESSAGES = [la.Message.from_wire(m) for m in WIRE]


def test_rows_are_what_stock_transformers_renders(base: la.Base) -> None:
    stock = AutoTokenizer.from_pretrained(base.path)
    (row,) = base.template.training_rows(MESSAGES)
    assert row.ids == stock.apply_chat_template(WIRE, tokenize=True, return_dict=True)["input_ids"]
    wanted = stock.apply_chat_template(WIRE[:2], tokenize=True, add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    assert base.template.prompt_ids(MESSAGES[:2]) == wanted


def test_the_mask_covers_answers_and_their_end_alone(base: la.Base) -> None:
    (row,) = base.template.training_rows(MESSAGES)
    trained = base.template.decode([t for t, on in zip(row.ids, row.mask, strict=True) if on])
    assert trained == '<tool_call>{"name": "price", "arguments": {"nights": 2, "für": "Zoë"}}</tool_call>240 euros.'
    assert sum(on for t, on in zip(row.ids, row.mask, strict=True) if t == 2) == 2


def test_a_prompt_is_a_prefix_of_its_row(base: la.Base) -> None:
    (row,) = base.template.training_rows(MESSAGES)
    prompt = base.template.prompt_ids(MESSAGES[:-1])
    assert row.ids[: len(prompt)] == prompt
    assert not row.mask[len(prompt) - 1]
    assert row.mask[len(prompt)]


def test_a_colleagues_turn_is_context(base: la.Base) -> None:
    messages = [*MESSAGES[:2], la.Message(role="assistant", content="one moment", trained=False), *MESSAGES[3:]]
    (row,) = base.template.training_rows(messages)
    assert base.template.decode([t for t, on in zip(row.ids, row.mask, strict=True) if on]) == "240 euros."


def test_calls_are_parsed_back_and_broken_ones_stay_text(base: la.Base) -> None:
    text, calls = base.template.parse('ok <tool_call>{"name": "a", "arguments": {"x": {"y": 1}}}</tool_call>')
    assert (text, calls) == ("ok", (la.ToolCall(name="a", arguments={"x": {"y": 1}}),))
    broken = '<tool_call>{"name": </tool_call>'
    assert base.template.parse(broken) == (broken, ())


def test_a_template_that_rewrites_history_gives_a_row_an_answer(base: la.Base) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    # Earlier answers lose their text, as reasoning templates drop earlier reasoning.
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.content if m.role != 'assistant' or loop.last else '...' }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    template = ChatTemplate(tokenizer, [2])
    rows = template.training_rows([MESSAGES[1], MESSAGES[4], MESSAGES[1], MESSAGES[4]])
    assert len(rows) == 2
    for row in rows:
        assert template.decode([t for t, on in zip(row.ids, row.mask, strict=True) if on]) == "240 euros."


def test_a_template_without_tool_role_gets_the_result_as_a_user_turn(base: la.Base) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )
    text = "".join(p.text for p in ChatTemplate(tokenizer, [2]).pieces(MESSAGES))
    assert '<tool_response>{"euros": 240}</tool_response>' in text


def test_no_template_and_no_end_of_turn_are_refused(base: la.Base) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    with pytest.raises(la.BaseModelError, match="never learn to stop"):
        ChatTemplate(tokenizer, [299]).training_rows(MESSAGES)
    tokenizer.chat_template = None
    with pytest.raises(la.BaseModelError, match="no chat template"):
        ChatTemplate(tokenizer, [2])
