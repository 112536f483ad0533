"""An agent's turn: it generates, calls tools, reads what they say, and goes on until it answers.

Where one plugin calls and another speaks, the first is asked whether there is something to call, quietly, until it has
nothing more to call; then the second says what came of it (docs/adr/0013).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

from ..core import NOT_SAID, GenerationRequest, Message, Recall, Reply, ToolCall, ToolResult, Usage
from ..core import Generator as Model
from ..memory.fact import says
from ..tool import Toolbox
from ..tool.said import heard_in

MAX_CALLS = "max_calls"


@dataclass(frozen=True, slots=True)
class Quiet:
    """A request whose words nobody hears: whether to call something."""

    request: GenerationRequest


@dataclass(frozen=True, slots=True)
class Making:
    """A call to be made.

    Attributes:
        heard: what the user has said so far, or agreed to.
    """

    call: ToolCall
    heard: str


@dataclass(frozen=True, slots=True)
class Recalling:
    """A question to the agent's memory."""

    question: str


Step = GenerationRequest | Quiet | Making | Recalling  # what a turn asks for: an answer, a result, or what is known
Ask = Callable[[Sequence[Message], str], GenerationRequest | Quiet]  # of what was said meanwhile, with a tool choice


@dataclass(frozen=True, slots=True)
class Turn:
    """A finished turn: the reply, and the messages that it adds to the conversation."""

    reply: Reply
    messages: tuple[Message, ...]


Steps = Generator[Step, Reply | ToolResult | Recall, Turn]
Consult = Callable[[str], Recall]
RECALL = "recall"  # as which "tool" the store's lines stand in a conversation: roles answer from results


def steps(ask: Ask, own: frozenset[str], most: int, choice: str, question: str = "") -> Steps:
    """A turn, step by step, whoever takes the steps: the same for callers that wait, await or stream.

    Args:
        ask: makes the next request; with the choice "none" it is for words.
        own: tools that the agent calls itself; a call of another ends the turn, for the caller to make.
        most: rounds of calls; then it has to answer in words.
        choice: which tool to call first; see :class:`GenerationRequest`.
        question: what the memory is asked first, if anything.
    """
    recalls = (yield from _recalled(question)) if question else ()
    if recalls and recalls[0].source == "plugin":
        return _from_memory(recalls[0])
    said: list[Message] = [Message(role="tool", name=RECALL, content=recall.text) for recall in recalls]
    replies: list[Reply] = []
    results: list[ToolResult] = []
    ended = False
    for rounds in count():
        wanted = ask(said, choice)
        answer = yield wanted
        assert isinstance(answer, Reply)
        replies.append(answer)
        calls = answer.tool_calls if all(call.name in own for call in answer.tool_calls) else ()
        if choice == "none" or not (calls or isinstance(wanted, Quiet)):
            break
        made = [result.call for result in results]
        ended = bool(calls) and rounds >= most  # it would go on calling
        if ended or not calls or (isinstance(wanted, Quiet) and all(call in made for call in calls)):
            choice = "none"
            continue
        called = yield from _made(answer, calls, _heard(wanted))
        results += called
        # Who only decides is told nothing of what it made up: there was nothing to call yet, and the role may ask.
        read = [r for r in called if not (isinstance(wanted, Quiet) and r.error == NOT_SAID)]
        if read:
            said.append(Message(role="assistant", content=answer.text, tool_calls=tuple(r.call for r in read)))
            said += [result.as_message() for result in read]
        # What was asked for was called; to insist would never end.
        choice = "auto" if len(read) == len(called) else "none"
    if recalls and not results:
        replies[-1] = _held_to(recalls[0], replies[-1])
    whole = replace(_whole(replies, results), recalls=recalls)
    return Turn(replace(whole, finish=MAX_CALLS) if ended else whole, (*said, replies[-1].as_message()))


def _recalled(question: str) -> Generator[Step, Reply | ToolResult | Recall, tuple[Recall, ...]]:
    """What the memory has to say, if it has."""
    recall = yield Recalling(question)
    assert isinstance(recall, Recall)
    return () if recall.source == "none" else (recall,)


def _from_memory(recall: Recall) -> Turn:
    """What a plugin remembers is the answer."""
    reply = Reply(recall.text, recall.stack, recall.usage, recalls=(recall,), raw=recall.text)
    return Turn(reply, (reply.as_message(),))


def _held_to(recall: Recall, reply: Reply) -> Reply:
    """An answer that says the fact which was read for it; small models read past what stands before them."""
    if not recall.value or reply.tool_calls or says(reply.text, recall.value):
        return reply
    return replace(reply, text=recall.text)


def _made(
    answer: Reply, calls: Sequence[ToolCall], heard: str
) -> Generator[Step, Reply | ToolResult | Recall, list[ToolResult]]:
    """Some calls of an answer, made one after another."""
    found = []
    for call in calls:
        result = yield Making(call, heard)
        assert isinstance(result, ToolResult)
        found.append(replace(result, caller=" + ".join(map(str, answer.stack))))
    return found


def run(turn: Steps, model: Model, toolbox: Toolbox, consult: Consult | None = None) -> Turn:
    """Take all steps of a turn."""
    for event in stream(turn, lambda request: iter(model.generate([request])), toolbox, consult):
        if isinstance(event, Turn):
            return event
    raise AssertionError("a turn ends with itself")


async def arun(turn: Steps, model: Model, toolbox: Toolbox, consult: Consult | None = None) -> Turn:
    """:func:`run` for asyncio."""

    async def answers(request: GenerationRequest) -> AsyncIterator[str | Reply]:
        for reply in await model.agenerate([request]):
            yield reply

    async for event in astream(turn, answers, toolbox, consult):
        if isinstance(event, Turn):
            return event
    raise AssertionError("a turn ends with itself")


def stream(
    turn: Steps,
    answers: Callable[[GenerationRequest], Iterator[str | Reply]],
    toolbox: Toolbox,
    consult: Consult | None = None,
) -> Iterator[str | ToolResult | Turn]:
    """Take all steps of a turn: pieces of text and results as they come, the turn at the end."""
    held = False  # whether words are kept back, since others may have to be said
    try:
        wanted = next(turn)
        while True:
            if isinstance(wanted, Recalling):
                recall = _consulted(consult, wanted)
                held = recall.source == "plugin" or bool(recall.value)
                wanted = turn.send(recall)
                continue
            if isinstance(wanted, Making):
                result = toolbox.run(wanted.call, wanted.heard)
                yield result
                wanted = turn.send(result)
                continue
            quiet = isinstance(wanted, Quiet)
            for item in answers(wanted.request if isinstance(wanted, Quiet) else wanted):
                if isinstance(item, Reply):
                    wanted = turn.send(item)
                elif not (quiet or held):
                    yield item
    except StopIteration as end:
        if held and end.value.reply.text:
            yield end.value.reply.text
        yield end.value


async def astream(
    turn: Steps,
    answers: Callable[[GenerationRequest], AsyncIterator[str | Reply]],
    toolbox: Toolbox,
    consult: Consult | None = None,
) -> AsyncIterator[str | ToolResult | Turn]:
    """:func:`stream` for asyncio."""
    held = False  # whether words are kept back, since others may have to be said
    try:
        wanted = next(turn)
        while True:
            if isinstance(wanted, Recalling):
                recall = await asyncio.to_thread(_consulted, consult, wanted)
                held = recall.source == "plugin" or bool(recall.value)
                wanted = turn.send(recall)
                continue
            if isinstance(wanted, Making):
                result = await toolbox.arun(wanted.call, wanted.heard)
                yield result
                wanted = turn.send(result)
                continue
            quiet = isinstance(wanted, Quiet)
            async for item in answers(wanted.request if isinstance(wanted, Quiet) else wanted):
                if isinstance(item, Reply):
                    wanted = turn.send(item)
                elif not (quiet or held):
                    yield item
    except StopIteration as end:
        if held and end.value.reply.text:
            yield end.value.reply.text
        yield end.value


def _consulted(consult: Consult | None, wanted: Recalling) -> Recall:
    return consult(wanted.question) if consult is not None else Recall("", "none")


def _heard(wanted: GenerationRequest | Quiet) -> str:
    request = wanted.request if isinstance(wanted, Quiet) else wanted
    return heard_in(request.messages)


def _whole(replies: Sequence[Reply], results: Sequence[ToolResult]) -> Reply:
    """The last reply, with the plugins, the calls and the costs of those before it."""
    first, last = replies[0], replies[-1]
    return replace(
        last,
        stack=tuple(dict.fromkeys(chain(last.stack, *(reply.stack for reply in replies)))),
        tool_calls=(*(result.call for result in results), *last.tool_calls),
        results=tuple(results),
        told=tuple(dict.fromkeys(chain.from_iterable(reply.told for reply in replies))),
        usage=Usage(
            prompt_tokens=sum(reply.usage.prompt_tokens for reply in replies),
            completion_tokens=sum(reply.usage.completion_tokens for reply in replies),
            first_token_ms=first.usage.first_token_ms,
            total_ms=sum(reply.usage.total_ms for reply in replies) + sum(r.seconds for r in results) * 1e3,
        ),
    )
