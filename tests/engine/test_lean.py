"""Which bases run in the lean form, and that every other still runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

import loragent as la
from loragent.engine.int8 import Int8
from loragent.engine.lean import LeanDecoder
from loragent.engine.probe import is_llama_like
from loragent.engine.product import Dense
from loragent.engine.runner import Runner
from loragent.model import load_model
from tests.conftest import read_whole

SIZE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "config", "lean"),
    [
        (LlamaForCausalLM, LlamaConfig(**SIZE), True),
        (LlamaForCausalLM, LlamaConfig(**SIZE | {"num_key_value_heads": 4}), True),
        (Qwen2ForCausalLM, Qwen2Config(**SIZE), True),  # biases
        (Qwen3ForCausalLM, Qwen3Config(**SIZE), False),  # norms of queries and keys
        (SmolLM3ForCausalLM, SmolLM3Config(**SIZE, no_rope_layers=[1, 1, 1, 0]), False),
        (GraniteForCausalLM, GraniteConfig(**SIZE, embedding_multiplier=12.0), False),
        (GraniteForCausalLM, GraniteConfig(**SIZE, residual_multiplier=0.5), False),
        (LlamaForCausalLM, LlamaConfig(**SIZE, hidden_act="gelu"), False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_bases_of_llamas_shape_are_lean(model: type, config: object, lean: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    assert is_llama_like(model(config).to(dtype).eval().model) is lean


def test_any_other_base_runs_as_well(tiny: Path, base: la.Base, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [la.GenerationRequest(text, max_tokens=8) for text in ("hello", "how may I help you today?")]
    assert isinstance(base._engine._runner._decoder, LeanDecoder)
    wanted = [reply.token_ids for reply in base.generate(requests)]
    monkeypatch.setattr("loragent.engine.build.is_llama_like", lambda decoder: False)
    with la.Base.load(tiny, device="cpu") as stock:
        assert not isinstance(stock._engine._runner._decoder, LeanDecoder)
        assert [reply.token_ids for reply in stock.generate(requests)] == wanted


@pytest.mark.parametrize("twice", [False, True])
def test_products_in_8_bits_are_close(twice: bool) -> None:
    random = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(24, 64, generator=random), torch.randn(24, generator=random)
    x, y = torch.randn(5, 64, generator=random), torch.randn(5, 24, generator=random)
    x[1] = 0
    x[2, 7] = 500.0  # an outlier
    exact, found = Dense(weight, bias), Int8(weight, bias, twice=twice)
    for wanted, got in ((exact(x), found(x)), (exact.add(x, y.clone()), found.add(x, y))):
        error = (wanted - got).norm(dim=1) / wanted.norm(dim=1)
        assert error.max() < (0.01 if twice else 0.02)
        assert torch.isfinite(got).all()


def test_a_base_in_8_bits_answers_like_the_whole(tiny: Path, base: la.Base) -> None:
    row = base._engine.intake.prepare(la.GenerationRequest("how may I help you today?"))
    with torch.inference_mode():
        wanted = read_whole(base._engine._runner, [row])
        row = base._engine.intake.prepare(la.GenerationRequest("how may I help you today?"))
        found = read_whole(Runner(load_model(tiny, "cpu", "int8")), [row])
    assert torch.nn.functional.cosine_similarity(wanted, found).item() > 0.99
