"""What is read once: second turns, plugins that are used late, and many readers of one conversation."""

from __future__ import annotations

import time
from functools import partial

from ...core import Use
from .case import Case
from .subject import MS, Subject, milliseconds_since, request


def reading_cases(subject: Subject) -> list[Case]:
    """Rows 8, 9 and 9b."""
    dtype = subject.default
    turn, late, readers = (partial(measure, subject) for measure in (_second_turn, _late_plugin, _readers))
    return [
        Case("8", f"second turn, known or anew, {dtype}", MS, partial(turn, True), partial(turn, False), 0.10, False),
        Case("9", f"another plugin late, or anew, {dtype}", MS, partial(late, True), partial(late, False), 0.10, False),
        Case(
            "9b", f"8 top-12-layer readers against each alone, {dtype}", MS,
            partial(readers, True), partial(readers, False), 0.55, False,
        ),
    ]  # fmt: skip


def _second_turn(subject: Subject, known: bool) -> float:
    """To the first token of a turn behind a long conversation that was read, and that was not."""
    stack = [Use(subject.plugins[0])]
    talk, base = subject.conversation(), subject.base(subject.default)
    if known:
        base.generate(request(talk[:1], stack, 1))
    return subject.first_token(base, talk, stack)


def _late_plugin(subject: Subject, late: bool) -> float:
    """To the first token of a plugin that is used for the last message alone, or for all."""
    one, other = subject.plugins[:2]
    talk, base = subject.conversation(), subject.base(subject.default)
    base.generate(request(talk, [Use(one)], 1))
    return subject.first_token(base, talk, [Use(one), Use(other, after=2)] if late else [Use(one), Use(other)])


def _readers(subject: Subject, at_once: bool) -> float:
    """Until eight agents have read one conversation, at once and one after another from nothing."""
    upper, base = subject.random(8, layers=12), subject.base(subject.default)
    began = time.perf_counter()
    if at_once:
        talk = subject.conversation()
        base.generate([request(talk, [Use(plugin)], 1) for plugin in upper])
    else:
        for plugin in upper:
            base.generate(request(subject.conversation(), [Use(plugin)], 1))
    return milliseconds_since(began)
