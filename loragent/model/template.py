"""The one place where messages become tokens, for training and for inference alike.

A conversation is rendered by the base's own chat template and tokenised in *pieces*, cut where an
assistant's answer begins. So a trained answer has exactly the tokens that the engine will have to
generate, and a history has exactly the tokens that were generated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..core import BaseModelError, Message, ToolCall, ToolSchema
from .signature import with_tools

CALL, END_OF_CALL = "<tool_call>", "</tool_call>"
_JSON = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of rendered text. ``answer`` marks what the assistant says, end-of-turn included."""

    text: str
    answer: bool = False
    trained: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids with a mask of the same length: True where there is a loss."""

    ids: list[int]
    mask: list[bool]


class ChatTemplate:
    """Renders and tokenises conversations for one base.

    Args:
        tokenizer: a fast transformers tokenizer with a chat template.
        end_ids: token ids that end a turn.
    """

    def __init__(self, tokenizer: Any, end_ids: Iterable[int]) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise BaseModelError(
                "the base has no chat template", "use an instruct model, or set tokenizer.chat_template and save it"
            )
        self.tokenizer = tokenizer
        self.end_ids = frozenset(end_ids)
        self._knows_tool_role = self._renders_tool_role()

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[ToolSchema] = ()) -> list[int]:
        """Tokens of the conversation up to where the next assistant turn begins, told of some tools."""
        pieces = self.pieces(with_tools(messages, tools), open_answer=True)
        return [token for piece in pieces for token in self.ids(piece.text)]

    def tokens_before(self, messages: Sequence[Message], count: int, tools: Sequence[ToolSchema] = ()) -> int:
        """How many tokens of :meth:`prompt_ids` render the first ``count`` messages and nothing else."""
        if not count:
            return 0
        pieces = self.pieces(with_tools(messages[:count], tools))
        before = [token for piece in pieces for token in self.ids(piece.text)]
        same = zip(before, self.prompt_ids(messages, tools), strict=False)
        return next((i for i, (one, other) in enumerate(same) if one != other), len(before))

    def training_rows(self, messages: Sequence[Message], tools: Sequence[ToolSchema] = ()) -> list[Encoded]:
        """The conversation as rows with a loss on the assistant's answers, end-of-turn included.

        One row, unless the base's template rewrites earlier turns (some drop earlier reasoning); then one
        row for each answer, as it will be asked for.
        """
        messages = with_tools(messages, tools)
        if self._is_stable(messages):
            return [self._encode(self.pieces(messages))]
        turns = [i for i, m in enumerate(messages) if m.role == "assistant" and m.trained]
        return [self._encode(self._last_answer(messages[: i + 1])) for i in turns]

    def pieces(self, messages: Sequence[Message], *, open_answer: bool = False) -> list[Piece]:
        """Cut the rendered conversation before and after each answer."""
        whole = self._render(messages, open_answer)
        if not self._is_stable(messages):
            return [Piece(whole)]
        pieces, done = [], 0
        for i, message in enumerate(messages):
            if message.role == "assistant":
                start = len(self._render(messages[:i], True))
                end = len(self._render(messages[: i + 1], False))
                pieces += [Piece(whole[done:start]), Piece(whole[start:end], True, message.trained)]
                done = end
        return [p for p in [*pieces, Piece(whole[done:])] if p.text]

    def ids(self, text: str) -> list[int]:
        """Tokens of a text as it stands, markup included."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Generated tokens as text, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def parse(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """Split a generated answer into its text and its tool calls; a broken call stays text."""
        calls: list[ToolCall] = []
        kept, at = "", 0
        while (begin := text.find(CALL, at)) >= 0:
            call, end = _read_call(text, begin)
            kept += text[at:begin] if call else text[at:end]
            calls += [call] if call else []
            at = end
        return (kept + text[at:]).strip(), tuple(calls)

    def _last_answer(self, messages: Sequence[Message]) -> list[Piece]:
        before = self._render(messages[:-1], True)
        whole = self._render(messages, False)
        if not whole.startswith(before):
            raise BaseModelError(
                "the base's chat template has no generation prompt", "use another base or mend its template"
            )
        return [Piece(before), Piece(whole[len(before) :], True, True)]

    def _encode(self, pieces: Sequence[Piece]) -> Encoded:
        ids: list[int] = []
        mask: list[bool] = []
        for piece in pieces:
            tokens = self.ids(piece.text)
            ids += tokens
            mask += self._until_end(tokens) if piece.answer and piece.trained else [False] * len(tokens)
        return Encoded(ids, mask)

    def _until_end(self, tokens: list[int]) -> list[bool]:
        # What a template writes behind the end-of-turn (a newline) is never generated, hence not trained.
        ends = [i for i, token in enumerate(tokens) if token in self.end_ids]
        if not ends:
            raise BaseModelError(
                "the chat template writes no end-of-turn token behind an answer", "a plugin would never learn to stop"
            )
        return [i <= ends[-1] for i in range(len(tokens))]

    def _is_stable(self, messages: Sequence[Message]) -> bool:
        """True when every answer begins where its generation prompt ends, and stays as it is later on."""
        whole = self._render(messages, False)
        for i, message in enumerate(messages):
            if message.role == "assistant":
                before, through = self._render(messages[:i], True), self._render(messages[: i + 1], False)
                if not (through.startswith(before) and whole.startswith(through)):
                    return False
        return True

    def _render(self, messages: Sequence[Message], open_answer: bool) -> str:
        if not messages and not open_answer:
            return ""
        wire = [self._flatten(message) for message in messages]
        rendered = self.tokenizer.apply_chat_template(wire, tokenize=False, add_generation_prompt=open_answer)
        return str(rendered)

    def _flatten(self, message: Message) -> dict[str, str]:
        # One form of tool call whatever the base: templates differ, and many know none.
        calls = "".join(f"{CALL}{call.to_json()}{END_OF_CALL}" for call in message.tool_calls)
        content = message.content + calls
        if message.role == "tool" and not self._knows_tool_role:
            return {"role": "user", "content": f"<tool_response>{content}</tool_response>"}
        return {"role": message.role, "content": content}

    def _renders_tool_role(self) -> bool:
        wire = [{"role": "user", "content": "question"}, {"role": "tool", "content": "result-7f3a"}]
        try:
            return "result-7f3a" in self.tokenizer.apply_chat_template(wire, tokenize=False)
        except Exception:  # a template signals a role it refuses with whatever its author chose to raise
            return False


def _read_call(text: str, begin: int) -> tuple[ToolCall | None, int]:
    """The call whose markup begins there, and where it ends; or None, and where its opening tag ends."""
    inside = begin + len(CALL)
    try:
        # Read as JSON, not up to the closing tag: an argument may hold one.
        value, end = _JSON.raw_decode(text, inside + len(text[inside:]) - len(text[inside:].lstrip()))
        rest = text[end:].lstrip()
        if rest.startswith(END_OF_CALL):
            return ToolCall.from_wire(value), len(text) - len(rest) + len(END_OF_CALL)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return None, inside
