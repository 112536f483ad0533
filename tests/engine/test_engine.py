"""Sampling, stopping, streaming, faults."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import loragent as la
from loragent.cli.measure import resident
from loragent.core import TrainingRow
from loragent.engine import Sequence
from loragent.engine.sampler import Sampling, sample
from loragent.model import compute, release_freed
from tests.conftest import MakePlugin, save_tiny


def test_seeds_repeat_whatever_is_beside(base: la.Base) -> None:
    request = la.GenerationRequest("hello", temperature=1.0, seed=7, max_tokens=12)
    alone = base.generate([request])[0]
    others = [la.GenerationRequest("a", temperature=1.0, max_tokens=9, seed=i) for i in range(4)]
    beside = base.generate([*others, request])[-1]
    assert alone.token_ids == beside.token_ids
    assert base.generate([request.model_copy(update={"seed": 8})])[0].token_ids != alone.token_ids


def test_top_p_keeps_the_token_that_crosses_the_mass() -> None:
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1]]))
    rows = [Sampling(1.0, 0.5, torch.Generator().manual_seed(0))]
    assert {sample(logits.clone(), rows, [[]])[0] for _ in range(20)} == {0}


def test_min_tokens_and_max_tokens(base: la.Base) -> None:
    reply = base.generate([la.GenerationRequest("hello", min_tokens=20, max_tokens=20)])[0]
    assert reply.usage.completion_tokens == 20
    assert reply.finish == "length"
    assert 2 not in reply.token_ids[:-1]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_reply_says_how_likely_its_tokens_were(base: la.Base, temperature: float) -> None:
    request = la.GenerationRequest("hello", max_tokens=12, temperature=temperature, seed=3, logprobs=True)
    beside = request.model_copy(update={"logprobs": False})
    reply, silent = base.generate([request, beside])
    assert reply.token_ids == silent.token_ids
    assert silent.logprobs == ()
    prompt = base.template.prompt_ids(request.messages)
    mask = (*[False] * len(prompt), *[True] * len(reply.token_ids))
    (score,) = base.score([TrainingRow((*prompt, *reply.token_ids), mask)])
    assert len(reply.logprobs) == score.tokens
    assert sum(reply.logprobs) == pytest.approx(-score.nll, abs=1e-3)


def test_a_stop_string_ends_the_answer_and_is_no_part_of_it(base: la.Base) -> None:
    whole = base.generate([la.GenerationRequest("hello", max_tokens=30)])[0]
    stop = whole.raw[3:5]
    cut = base.generate([la.GenerationRequest("hello", max_tokens=30, stop=stop)])[0]
    assert cut.raw == whole.raw[: whole.raw.find(stop)]
    assert cut.finish == "stop"


def test_streaming_gives_the_same_text_in_pieces(base: la.Base) -> None:
    request = la.GenerationRequest("how may I help you", max_tokens=25)
    *pieces, reply = base.stream(request)
    assert isinstance(reply, la.Reply)
    assert "".join(map(str, pieces)) == reply.raw
    assert reply.raw == base.generate([request])[0].raw


def test_leaving_a_stream_cancels_the_row(base: la.Base) -> None:
    stream = base.stream(la.GenerationRequest("hello", min_tokens=300, max_tokens=300))
    next(stream)
    stream.close()
    assert base.generate([la.GenerationRequest("a", max_tokens=2)])[0].usage.completion_tokens <= 2


def test_callers_on_many_threads_share_the_engine(base: la.Base) -> None:
    wanted = base.generate([la.GenerationRequest("hello", max_tokens=8)])[0].token_ids
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda _: base.generate([la.GenerationRequest("hello", max_tokens=8)])[0].token_ids, range(16))
        )
    assert set(found) == {wanted}


def test_async_callers_decode_together(base: la.Base) -> None:
    async def ask() -> list[la.Reply]:
        return await base.agenerate([la.GenerationRequest("hello", max_tokens=6) for _ in range(3)])

    assert len({r.token_ids for r in asyncio.run(ask())}) == 1


def test_more_rows_than_slots_all_get_answers(base: la.Base) -> None:
    replies = base.generate([la.GenerationRequest("hello" * (i % 5 + 1), max_tokens=1 + i % 7) for i in range(80)])
    assert all(r.usage.completion_tokens >= 1 for r in replies)


def test_a_prompt_longer_than_the_context_is_refused(base: la.Base) -> None:
    with pytest.raises(la.ContextOverflow) as caught:
        base.generate([la.GenerationRequest("hello " * 600)])
    assert caught.value.limit == 512


def test_an_unknown_plugin_is_refused_before_anything_runs(base: la.Base) -> None:
    with pytest.raises(la.PluginNotFound, match="nobody"):
        base.generate([la.GenerationRequest("hello"), la.GenerationRequest("hello", ["nobody"])])


def test_a_plugin_for_another_base_is_refused(base: la.Base, make_plugin: MakePlugin, tmp_path: Path) -> None:
    other = save_tiny(tmp_path / "other", seed=5)
    with la.Base.load(other, device="cpu") as stranger:
        plugin = base.library.publish(make_plugin("a"), la.Manifest(name="a", base=stranger.fingerprint))
    assert plugin.manifest.base != base.fingerprint
    with pytest.raises(la.PluginRefused) as caught:
        base.generate([la.GenerationRequest("hello", ["a"])])
    assert caught.value.field == "base"


def test_a_failing_step_ends_its_rows_and_no_others(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = base._engine._runner
    real = runner.read

    def broken(rows: list[object], *more: object) -> torch.Tensor:
        if any("boom" in r.request.messages[0].content for r in rows):  # type: ignore[attr-defined]
            raise RuntimeError("out of memory")
        return real(rows, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "read", broken)
    with pytest.raises(la.GenerationError, match="out of memory"):
        base.generate([la.GenerationRequest("boom")])
    assert base.generate([la.GenerationRequest("hello", max_tokens=3)])[0].usage.completion_tokens <= 3


def test_rows_beside_one_that_fails_answer_as_without_it(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory in a step of many rows, while reading or while decoding: the others' tokens are the same."""
    good = [la.GenerationRequest("hello" + " you" * n, max_tokens=20, min_tokens=20) for n in range(7)]
    wanted = [base.generate([request])[0].token_ids for request in good]
    runner = base._engine._runner
    for name, after in (("read", 0), ("decode", 6)):
        real, steps = getattr(runner, name), [0]

        def broken(rows: list[Sequence], *more: object, real=real, steps=steps, after=after) -> torch.Tensor:  # type: ignore[no-untyped-def]
            steps[0] += 1
            if steps[0] > after and any("boom" in r.request.messages[0].content for r in rows):
                raise RuntimeError("out of memory")
            return real(rows, *more)  # type: ignore[no-any-return]

        base.forget()
        with monkeypatch.context() as patch:
            patch.setattr(runner, name, broken)
            boom = la.GenerationRequest("boom", min_tokens=20, max_tokens=20)
            rows = [base._engine.intake.prepare(request) for request in (*good[:3], boom, *good[3:])]
            base._engine.enqueue(*rows)
            with pytest.raises(la.GenerationError, match="out of memory"):
                rows.pop(3).result(10)
            assert [row.result(10).token_ids for row in rows] == wanted


def test_closing_ends_rows_in_flight(tiny: Path) -> None:
    base = la.Base.load(tiny, device="cpu")
    rows = [base._engine.submit(la.GenerationRequest("hello", min_tokens=400, max_tokens=400)) for _ in range(40)]
    base.close()
    assert {row.result(10).finish for row in rows} == {"cancelled"}
    with pytest.raises(la.GenerationError, match="closed"):
        base.generate([la.GenerationRequest("hello")])


@pytest.mark.slow
def test_ten_thousand_rows_leak_nothing(tiny: Path, make_plugin: MakePlugin) -> None:
    """Short rows with random stacks and scales, some cancelled, some out of time, under tight budgets."""
    rng = random.Random(0)
    plugins = [make_plugin(f"p{n}", seed=n, rank=1 + n % 5) for n in range(12)]
    limits = la.Limits(plugin_bytes=60_000, prefix_bytes=1 << 20, rows=16)
    with la.Base.load(tiny, device="cpu", limits=limits) as base:
        sizes = []
        for _ in range(20):
            rows = []
            for n in range(500):
                stack = [la.Use(p, scale=rng.choice([1.0, 0.5])) for p in rng.sample(plugins, rng.choice([0, 1, 1, 2]))]
                request = la.GenerationRequest(
                    f"{n} hello" * rng.randint(1, 4), stack, max_tokens=rng.randint(1, 5),
                    timeout=1e-4 if n % 50 == 7 else None,
                )  # fmt: skip
                rows.append(base._engine.intake.prepare(request))
            base._engine.enqueue(*rows)
            for row in rows[::17]:
                row.cancelled.set()
            for row in rows:
                with contextlib.suppress(la.GenerationTimeout):
                    row.result(60)
            base.forget()
            gc.collect()
            release_freed()
            sizes.append(resident())
        slots = base._engine.intake._slots
        assert slots.nbytes <= 60_000
        assert slots.nbytes == sum(weights.nbytes for weights in slots._resident.values())
        assert not base._engine._batch.rows
        assert max(sizes[10:]) - min(sizes[5:10]) < 4 << 20, [size >> 10 for size in sizes]


def test_a_reply_says_who_answered(base: la.Base, make_plugin: MakePlugin) -> None:
    base.library.publish(make_plugin("a"), la.Manifest(name="clerk", base=base.fingerprint))
    reply = base.generate([la.GenerationRequest("hello", [la.Use("clerk@1", scale=0.5)], max_tokens=2)])[0]
    assert [str(m) for m in reply.stack] == ["clerk@1*0.5"]
    assert reply.usage.prompt_tokens > 0
    assert reply.usage.total_ms >= reply.usage.first_token_ms > 0


def test_a_malformed_tool_call_is_text_and_the_engine_lives(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = '<tool_call>{"function": "hand_over"}</tool_call>'
    monkeypatch.setattr(base.template, "decode", lambda ids: broken)
    reply = base.generate([la.GenerationRequest("hello", max_tokens=2)])[0]
    assert (reply.tool_calls, reply.text) == ((), broken)


def test_a_row_that_fails_to_decode_ends_alone(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(ids: object) -> str:
        raise RuntimeError("no such token")

    with monkeypatch.context() as patch:
        patch.setattr(base.template, "decode", fail)
        with pytest.raises(la.GenerationError, match="no such token") as caught:
            base.generate([la.GenerationRequest("hello")])
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert base.generate([la.GenerationRequest("hello", max_tokens=2)])[0].finish


def test_an_async_caller_that_gives_up_frees_its_row(base: la.Base) -> None:
    async def give_up() -> None:
        await asyncio.wait_for(base.agenerate([la.GenerationRequest("hello", min_tokens=400, max_tokens=400)]), 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(give_up())
    assert base.generate([la.GenerationRequest("hello", max_tokens=2)])[0].usage.total_ms < 2000
    assert not base._engine._batch.rows


def test_the_same_weights_with_another_alpha_are_another_plugin(base: la.Base, make_plugin: MakePlugin) -> None:
    small, large = make_plugin("small", seed=1), make_plugin("large", seed=1, lora_alpha=64)
    request = la.GenerationRequest("hello", max_tokens=12)
    replies = base.generate([request.model_copy(update={"stack": (la.Use(p),)}) for p in (small, large)])
    alone = [base.generate([request.model_copy(update={"stack": (la.Use(p),)})])[0] for p in (small, large)]
    assert [r.token_ids for r in replies] == [r.token_ids for r in alone]
    assert replies[0].token_ids != replies[1].token_ids


def test_memory_returns_when_nobody_asks(base: la.Base) -> None:
    base.generate([la.GenerationRequest("hello", max_tokens=3) for _ in range(40)])
    cache = base._engine._runner.cache
    for _ in range(100):
        if cache.k[0] is None:
            break
        time.sleep(0.01)
    assert cache.k[0] is None


def test_a_script_that_forgets_to_close_ends_well(tiny: Path) -> None:
    script = f"import loragent as la; base = la.Base.load({str(tiny)!r}); base.generate([la.GenerationRequest('a')])"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_row_whose_time_is_over_ends_alone(base: la.Base) -> None:
    late = la.GenerationRequest("hello", min_tokens=400, max_tokens=400, timeout=0.05)
    beside = base._engine.submit(la.GenerationRequest("hello", min_tokens=60, max_tokens=60))
    with pytest.raises(la.GenerationTimeout) as caught:
        base.generate([late])
    assert caught.value.seconds == 0.05
    assert beside.result(10).usage.completion_tokens == 60


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What computes is busy meanwhile, so that no row gets on."""
    begun, done = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(compute, lambda: begun.set() or done.wait(), urgent=True)
        begun.wait()
        try:
            yield
        finally:
            done.set()


def test_a_full_queue_refuses(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base._engine, "_limits", la.Limits(rows=1, waiting=3))
    monkeypatch.setattr(base._engine._batch, "_max_rows", 1)
    request = la.GenerationRequest("hello", min_tokens=50, max_tokens=50)
    assert len(base.generate([request] * 5)) == 5  # one caller's rows alone never fill it
    waiting = [base._engine.intake.prepare(request) for _ in range(4)]
    with held():
        base._engine.enqueue(*waiting)
        with pytest.raises(la.EngineBusy, match="requests wait already"):
            base.generate([request])
    assert {row.result(20).finish for row in waiting} == {"length"}


def test_a_row_that_is_not_finite_ends_alone(base: la.Base, make_plugin: MakePlugin) -> None:
    """Nor does it reach a row that takes its place, shorter than one beside it."""
    plugin = make_plugin("a")
    good = [la.GenerationRequest(text, min_tokens=12, max_tokens=12) for text in ("hello " * 20, "a")]
    alone = [base.generate([request])[0].token_ids for request in good]
    beside = [base._engine.submit(request) for request in good[:1]]
    for _ in range(3):
        with pytest.raises(la.GenerationError, match="not finite"):
            base.generate([la.GenerationRequest("b " * 30, [la.Use(plugin, scale=1e36)], max_tokens=4)])
        beside.append(base._engine.submit(good[1]))
    assert [row.result(10).token_ids for row in beside] == [alone[0], *[alone[1]] * 3]
    assert base.generate([la.GenerationRequest("hello", temperature=1e-40, max_tokens=3)])[0].token_ids
