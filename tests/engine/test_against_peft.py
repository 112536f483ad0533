"""The engine's numbers are stock PEFT's, whatever else is in the batch."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import PeftModel
from transformers import LlamaForCausalLM

import loragent as la
from loragent.core import TrainingRow
from loragent.engine import Sequence
from loragent.engine.batch import CHUNK_TOKENS
from loragent.engine.decoder import Pass
from loragent.engine.lean import LeanDecoder
from loragent.engine.lora import Plan
from loragent.engine.runner import Runner
from loragent.model import load_model
from tests.conftest import MakePlugin, read_whole

LONG = "room 12, two nights, and breakfast for three please"
TEXTS = ["hello", "how may I help you today?", "a", LONG, LONG + ", not four", LONG + ", or four?"]


def peft_greedy(tiny: Path, plugins: list[Path], ids: list[int], steps: int) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens and the first step's logits from stock transformers and PEFT."""
    model: torch.nn.Module = LlamaForCausalLM.from_pretrained(tiny)
    if plugins:
        model = PeftModel.from_pretrained(model, plugins[0], adapter_name="p0")
        for i, plugin in enumerate(plugins[1:], start=1):
            model.load_adapter(plugin, adapter_name=f"p{i}")
        model.base_model.set_adapter([f"p{i}" for i in range(len(plugins))])
    model.eval()
    out: list[int] = []
    first = torch.empty(0)
    with torch.no_grad():
        for _ in range(steps):
            logits = model(input_ids=torch.tensor([ids + out])).logits[0, -1]
            first = logits if not len(first) else first
            out.append(int(logits.argmax()))
            if out[-1] == 2:
                break
    return out, first


def counting(patch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens of each row the engine reads from now on, chunk by chunk."""
    read: list[int] = []
    real = Runner.read

    def counted(self: Runner, rows: list[Sequence], counts: list[int], *more: object) -> torch.Tensor:
        read.extend(counts)
        return real(self, rows, counts, *more)  # type: ignore[arg-type]

    patch.setattr(Runner, "read", counted)
    return read


def test_rows_with_any_stack_match_peft(base: la.Base, tiny: Path, plugins: list[Path]) -> None:
    stacks: list[list[Path]] = [[], [plugins[0]], [plugins[1]], [plugins[2]], plugins]
    requests = [la.GenerationRequest(t, s, max_tokens=12) for t in TEXTS for s in stacks]
    replies = base.generate(requests)
    for request, reply in zip(requests, replies, strict=True):
        ids = base.template.prompt_ids(request.messages)
        wanted, _ = peft_greedy(tiny, [Path(u.plugin) for u in request.stack], ids, 12)
        assert list(reply.token_ids) == wanted


def test_logits_match_peft_to_1e_4(base: la.Base, tiny: Path, plugins: list[Path]) -> None:
    ids = base.template.prompt_ids(la.GenerationRequest(TEXTS[1]).messages)
    for stack in ([], [plugins[0]], plugins):
        _, wanted = peft_greedy(tiny, stack, ids, 1)
        row = TrainingRow((*ids, 5), (*[False] * len(ids), True))
        loaded = load_model(tiny, "cpu", None)
        runner = Runner(loaded)
        mounts = tuple(base._engine.intake.mount(la.Use(p))[0] for p in stack)
        with torch.inference_mode():
            found = runner.at_targets([row], mounts)[0]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_rows_that_are_scored_together_score_as_each_alone(base: la.Base, plugins: list[Path]) -> None:
    rows = [
        TrainingRow(tuple(ids), tuple(n % 3 != 1 for n in range(len(ids))))
        for text in TEXTS
        for ids in (base.template.prompt_ids(la.GenerationRequest(text * 9).messages), base.template.ids(text * 4))
    ]
    assert sum(len(row.ids) for row in rows) > CHUNK_TOKENS > len(rows[1].ids)
    together = base.score(rows, plugins)
    for row, score in zip(rows, together, strict=True):
        (alone,) = base.score([row], plugins)
        assert (score.tokens, score.hits) == (alone.tokens, alone.hits) == (row.targets, alone.hits)
        assert score.nll == pytest.approx(alone.nll, abs=1e-3)


def test_rows_that_are_scored_again_are_read_above_their_trunk_alone(
    base: la.Base, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper = [make_plugin(f"u{i}", seed=i, layers_to_transform=[2, 3]) for i in range(2)]
    read = [tuple(base.template.ids(text)) for text in TEXTS[3:]]
    rows = [TrainingRow(ids, tuple(n > 0 for n in range(len(ids)))) for ids in read]
    wanted = []
    for plugin in upper:
        base.forget()
        wanted += [score.nll for score in base.score(rows, [plugin])]
    levels, through = list[int](), LeanDecoder.through

    def noting(self: LeanDecoder, plan: Plan, step: Pass, x: torch.Tensor) -> torch.Tensor:
        levels.append(step.level)
        return through(self, plan, step, x)

    base.forget()
    monkeypatch.setattr(LeanDecoder, "through", noting)
    found = [score.nll for plugin in upper for score in base.score(rows, [plugin])]
    assert found == pytest.approx(wanted, abs=1e-5)
    assert levels == [0, 2]
    base.forget()
    base.score(rows, [upper[0]])
    assert levels == [0, 2, 0]


def test_a_base_row_is_bit_identical_in_a_mixed_batch(tiny: Path, base: la.Base, plugins: list[Path]) -> None:
    runner = Runner(load_model(tiny, "cpu", None))
    requests = [la.GenerationRequest(t) for t in TEXTS[:4]]
    mixed = [la.GenerationRequest(t, s) for t, s in zip(TEXTS, [[], [plugins[0]], plugins, [plugins[1]]], strict=False)]
    with torch.inference_mode():
        alone = read_whole(runner, [base._engine.intake.prepare(r) for r in requests])[0]
        together = read_whole(runner, [base._engine.intake.prepare(r) for r in mixed])[0]
    assert torch.equal(alone, together)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_random_joins_leaves_stacks_and_scales(base: la.Base, plugins: list[Path], seed: int) -> None:
    """Each row answers as it does alone, however rows come and go beside it."""
    rng = random.Random(seed)
    requests = []
    for _ in range(rng.randint(2, 9)):
        stack = [la.Use(p, scale=rng.choice([0.5, 1.0, -0.7])) for p in rng.sample(plugins, rng.randint(0, 3))]
        requests.append(la.GenerationRequest(rng.choice(TEXTS), stack, max_tokens=rng.randint(1, 10), stop=["zq"]))
    together = base.generate(requests)
    for request, reply in zip(requests, together, strict=True):
        alone = base.generate([request])[0]
        assert reply.token_ids == alone.token_ids
        assert reply.stack == alone.stack


def test_rows_that_begin_alike_are_read_once(
    base: la.Base, plugins: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turns of a dialogue, whole histories first: all but the longest read a few tokens, under one stack."""
    talk = [la.Message(role=r, content=LONG) for r in ("user", "assistant") * 3]
    histories = [talk[:5], talk[:3], talk[:1]]
    alone = [base.generate([la.GenerationRequest(h, [plugins[0]], max_tokens=8)])[0] for h in histories]
    read: list[tuple[int, int]] = []
    real = Runner._pass

    def counted(self: Runner, rows: list[Sequence], ids: torch.Tensor, *more: object) -> Pass:
        read.append(tuple(ids.shape))  # type: ignore[arg-type]
        return real(self, rows, ids, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "_pass", counted)
    base.forget()
    other = la.GenerationRequest(histories[0], [plugins[1]], max_tokens=8)  # begins alike, but not for this stack
    together = base.generate([*[la.GenerationRequest(h, [plugins[0]], max_tokens=8) for h in histories], other])
    assert [r.token_ids for r in together[:3]] == [r.token_ids for r in alone]
    longest = alone[0].usage.prompt_tokens
    assert 2 * longest <= sum(rows * tokens for rows, tokens in read if tokens > 1) < 2 * longest + 150  # once a stack
    assert together[3].token_ids == base.generate([other])[0].token_ids


def test_a_row_shares_with_one_that_moved_into_another_slot(base: la.Base, plugins: list[Path]) -> None:
    """The first row ends at once, so the last one takes its slot; a third then begins like that one."""
    talk = la.GenerationRequest(LONG * 3, [plugins[0]], min_tokens=60, max_tokens=60)
    short = la.GenerationRequest("a", max_tokens=1)
    late = la.GenerationRequest(LONG * 3, [plugins[0]], max_tokens=8)
    alone = [base.generate([request])[0].token_ids for request in (talk, late)]
    stream = base.stream(talk)
    base.generate([short])
    next(stream)
    third = base.generate([late])[0]
    *_, reply = stream
    assert isinstance(reply, la.Reply)
    assert [reply.token_ids, third.token_ids] == alone


def test_a_second_turn_reads_only_what_is_new(
    base: la.Base, plugins: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a row has read stays known when it has ended, under the same stack and scale alone."""
    talk = [la.Message(role="user", content=LONG * 3)]
    stack = [la.Use(plugins[0], scale=0.5)]
    first = base.generate([la.GenerationRequest(talk, stack, max_tokens=8)])[0]
    talk += [la.Message(role="assistant", content=first.text), la.Message(role="user", content="and now?")]
    read = counting(monkeypatch)
    again = base.generate([la.GenerationRequest(talk, stack, max_tokens=8)])[0]
    assert sum(read) < again.usage.prompt_tokens - first.usage.prompt_tokens + 5
    for other in ([], [plugins[0]], [la.Use(plugins[1], scale=0.5)]):
        read.clear()
        base.generate([la.GenerationRequest(talk, other, max_tokens=1)])
        assert sum(read) == again.usage.prompt_tokens
    base.forget()
    read.clear()
    assert base.generate([la.GenerationRequest(talk, stack, max_tokens=8)])[0].token_ids == again.token_ids
    assert sum(read) == again.usage.prompt_tokens


def test_a_long_prompt_stalls_the_others_for_a_chunk_at_most(
    base: la.Base, plugins: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that decode get a token between the chunks of a prompt, and all answer as they do alone."""
    long = la.GenerationRequest("a b c d e f g " * 30, [plugins[0]], max_tokens=6)
    short = la.GenerationRequest("hello", [plugins[1]], min_tokens=40, max_tokens=40)
    alone = [base.generate([r])[0].token_ids for r in (short, long)]
    base.forget()
    read = counting(monkeypatch)
    monkeypatch.setattr("loragent.engine.batch.CHUNK_TOKENS", 64)
    stream = base.stream(short)
    next(stream)
    reply = base.generate([long])[0]
    *_, other = stream
    assert isinstance(other, la.Reply)
    assert [other.token_ids, reply.token_ids] == alone
    assert max(read[1:]) <= 64


def test_stacks_that_touch_the_upper_layers_share_the_trunk(
    base: la.Base, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four agents read one conversation: the lower half once, the upper half each."""
    upper = [make_plugin(f"u{i}", seed=i, layers_to_transform=[2, 3]) for i in range(4)]
    requests = [la.GenerationRequest(LONG * 5, [plugin], max_tokens=8) for plugin in upper]
    alone = []
    for request in requests:
        base.forget()
        alone.append(base.generate([request])[0])
    base.forget()
    read: list[tuple[int, int]] = []
    real = Runner.read

    def counted(self: Runner, rows: list[Sequence], counts: list[int], *more: object) -> torch.Tensor:
        read.extend((row.level, n) for row, n in zip(rows, counts, strict=True))
        return real(self, rows, counts, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Runner, "read", counted)
    together = base.generate(requests)
    assert [r.token_ids for r in together] == [r.token_ids for r in alone]
    tokens = alone[0].usage.prompt_tokens
    assert sum(n for level, n in read if level == 0) == tokens + 3  # the last token's logits are each row's own
    assert sum(n for level, n in read if level == 2) == 3 * (tokens - 1)
    bare = la.GenerationRequest(LONG * 5, max_tokens=8)
    lower = la.GenerationRequest(LONG * 5, [make_plugin("low", seed=9)], max_tokens=8)
    again = base.generate([bare, lower])  # the one touches no layer, the other all: neither has anything to share
    base.forget()
    assert [r.token_ids for r in again] == [base.generate([r])[0].token_ids for r in (bare, lower)]


def test_a_plugin_that_is_used_later_reuses_what_was_read_without_it(
    base: la.Base, plugins: list[Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin applies from its message on, and what lies before need not be read again."""
    talk = [la.Message(role="user", content=LONG * 2), la.Message(role="assistant", content=LONG)]
    last = la.Message(role="user", content="and now?")
    base.generate([la.GenerationRequest([*talk[:1]], max_tokens=1), la.GenerationRequest([*talk, last], max_tokens=1)])
    with monkeypatch.context() as patch:
        read = counting(patch)
        late = la.GenerationRequest([*talk, last], [la.Use(plugins[0], after=2)], max_tokens=8)
        known = base.generate([late])[0]
    assert sum(read) < 40 < known.usage.prompt_tokens
    base.forget()
    assert base.generate([late])[0].token_ids == known.token_ids
    whole = base.generate([la.GenerationRequest([*talk, last], [plugins[0]], max_tokens=8)])[0]
    assert whole.token_ids != known.token_ids
    with pytest.raises(ValueError, match="after 4 messages, but there are 3"):
        la.GenerationRequest([*talk, last], [la.Use(plugins[0], after=4)])


def test_a_trunk_survives_when_its_row_moves(base: la.Base, make_plugin: MakePlugin) -> None:
    """A row that is read from a trunk changes slots, behind rows that begin to decode and behind rows that end."""
    upper = make_plugin("u", layers_to_transform=[2, 3])
    long = la.GenerationRequest(LONG * 7, [upper], max_tokens=8)
    others = [la.GenerationRequest(text, min_tokens=n, max_tokens=n) for text, n in (("one two", 3), ("three", 30))]
    alone = base.generate([long])[0].token_ids
    for order in ([others[0], long, others[1]], [others[1], others[0], long], [long, *others]):
        base.forget()
        base.generate(
            [la.GenerationRequest(LONG * 7, [make_plugin("v", seed=5, layers_to_transform=[2, 3])], max_tokens=1)]
        )
        replies = base.generate(order)
        assert replies[order.index(long)].token_ids == alone


def test_memory_that_runs_out_for_what_is_kept_fails_no_row(base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(base._engine._runner.cache, "take", full)
    replies = base.generate([la.GenerationRequest(LONG, max_tokens=n) for n in (1, 2, 3)])
    assert [reply.usage.completion_tokens for reply in replies] == [1, 2, 3]
