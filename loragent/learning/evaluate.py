"""Scores of a stack on held-out dialogues: each assistant turn is generated after its true history."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ..base import Base
from ..core import GenerationRequest, Message, ToolSchema, TrainingRow, Use
from ..model import CALL, END_OF_CALL
from ..training import Example
from .scoring import TurnScore, rates, score_turn

MAX_TOKENS = 160  # of a generated turn; role answers and calls are shorter
LONGER = 3  # times its reference in tokens: a similarity of MATCH allows 2.3 times its letters
TIMED = 5  # fresh conversations that the time to first token is taken from

SystemPrompt = str | Callable[[Example], str] | None


@dataclass(frozen=True, slots=True)
class Condition:
    """One way of giving a base its role.

    Attributes:
        name: for the table.
        stack: plugins, if any.
        system: a system prompt, the same for all rows or chosen by row.
        tools: that answers may call, where a row brings none of its own.
    """

    name: str
    stack: tuple[Use, ...] = ()
    system: SystemPrompt = None
    tools: tuple[ToolSchema, ...] = ()

    def request(self, example: Example, history: Sequence[Message], max_tokens: int) -> GenerationRequest:
        """What is asked for the next turn under this condition."""
        tools = example.tools or self.tools
        return GenerationRequest(self.messages(example, history), self.stack, tools=tools, max_tokens=max_tokens)

    def messages(self, example: Example, history: Sequence[Message]) -> tuple[Message, ...]:
        """The history under this condition."""
        text = self.system(example) if callable(self.system) else self.system
        return (Message(role="system", content=text), *history) if text else tuple(history)


@dataclass(frozen=True, slots=True)
class Sample:
    """One generated turn, for people to read.

    Attributes:
        row: index of its dialogue.
    """

    question: str
    reference: str
    answer: str
    row: int
    score: TurnScore


@dataclass(frozen=True, slots=True)
class Scores:
    """What a condition reached.

    Attributes:
        nll: of the reference turns, nats a token.
        reply_match: share of turns with similarity of at least 0.6, or the same call name.
        call_exact: share of the reference's calls with the right name and every argument; None without calls.
        action: share of right actions; None where rows carry no labels or no templates are known.
        prompt_tokens: mean prompt of a turn.
        first_token_ms: median time to first token of a fresh conversation, alone on the engine.
        turns: how many were scored.
    """

    condition: str
    nll: float
    reply_match: float
    call_exact: float | None
    action: float | None
    prompt_tokens: float
    first_token_ms: float
    turns: int
    calls: int
    samples: tuple[Sample, ...] = field(default=(), repr=False)

    def numbers(self) -> dict[str, float]:
        """The scores that are there, for a manifest."""
        skip = {"condition", "samples"}
        return {k: round(v, 4) for k, v in asdict(self).items() if k not in skip and v is not None}


@dataclass(frozen=True, slots=True)
class _Turn:
    row: int
    example: Example
    history: tuple[Message, ...]
    reference: Message
    label: str | None


def evaluate(
    base: Base,
    examples: Sequence[Example],
    condition: Condition,
    replies: Callable[[Example], Mapping[str, str] | None] | None = None,
) -> Scores:
    """Score one condition on held-out dialogues.

    Args:
        replies: the reply templates by label of an example's role; without it actions are not scored.
    """
    turns = [turn for row, example in enumerate(examples) for turn in _turns(row, example)]
    requests = [condition.request(t.example, t.history, _limit(base, t, condition)) for t in turns]
    answers = base.generate(requests[::-1])[::-1]  # longest history first: a dialogue's other turns share it
    marks = [
        score_turn(a.text, a.tool_calls, t.reference, label=t.label, replies=replies(t.example) if replies else None)
        for t, a in zip(turns, answers, strict=True)
    ]
    rows = [row for example in examples for row in _rows(base, example, condition)]
    likelihood = base.score(rows, condition.stack)
    shown = [
        Sample(turn.history[-1].content if turn.history else "", _text(turn.reference), answer.raw, turn.row, mark)
        for turn, answer, mark in zip(turns, answers, marks, strict=True)
    ]
    shares = rates(marks)
    return Scores(
        condition=condition.name,
        nll=sum(s.nll for s in likelihood) / max(1, sum(s.tokens for s in likelihood)),
        reply_match=shares["reply_match"] or 0.0,
        call_exact=shares["call_exact"],
        action=shares["action"],
        prompt_tokens=statistics.fmean(a.usage.prompt_tokens for a in answers),
        first_token_ms=_first_token_ms(base, turns, condition),
        turns=len(marks),
        calls=sum(m.call_exact is not None for m in marks),
        samples=tuple(shown),
    )


def _turns(row: int, example: Example) -> list[_Turn]:
    labels = iter(example.raw.get("labels") or [])
    turns = []
    for i, message in enumerate(example.messages):
        if message.role == "assistant":
            label = next(labels, None)
            if message.trained:
                turns.append(_Turn(row, example, example.messages[:i], message, label))
    return turns


def _limit(base: Base, turn: _Turn, condition: Condition) -> int:
    """Tokens to generate: a reply is cut where it is too long to match its reference, for bare bases ramble on; but
    not where there are tools, since a call that there is no room for would not be made.
    """
    if turn.reference.tool_calls or turn.example.tools or condition.tools:
        return MAX_TOKENS
    return min(MAX_TOKENS, LONGER * base.count_tokens(GenerationRequest(turn.reference.content)))


def _rows(base: Base, example: Example, condition: Condition) -> list[TrainingRow]:
    messages = condition.messages(example, example.messages)
    told = base.told(condition.request(example, example.messages, 1))
    return [TrainingRow(tuple(e.ids), tuple(e.mask), example.line) for e in base.template.training_rows(messages, told)]


def _first_token_ms(base: Base, turns: Sequence[_Turn], condition: Condition) -> float:
    """Fresh conversations one after another, so that nothing else is on the engine, and nothing of them known; the
    first one warms up.
    """
    fresh = [t for t in turns if sum(m.role == "user" for m in t.history) == 1][: TIMED + 1] or list(turns[: TIMED + 1])
    times = []
    for turn in fresh:
        request = condition.request(turn.example, turn.history, 1)
        base.forget()  # the turns were answered before
        times.append(base.generate(request)[0].usage.first_token_ms)
    return statistics.median(times[1:] or times)


def _text(message: Message) -> str:
    return message.content + "".join(f"{CALL}{c.to_json()}{END_OF_CALL}" for c in message.tool_calls)


__all__ = ["Condition", "Sample", "Scores", "TurnScore", "evaluate"]
