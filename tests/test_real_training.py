"""The slow set's training: distillation, a killed run, answers meanwhile; and what other tools wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import loragent as la
from loragent.cli.measure import Resident
from loragent.core import TrainingRow
from loragent.learning import DialogueCurriculum
from loragent.role import load_role
from loragent.training import TrainSettings, read_examples
from tests.conftest import write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROLES = Path(__file__).parent.parent / "roles"
SMALL = {"rank": 8, "layers": 4, "epochs": 2, "start": "none"}


@pytest.fixture(scope="module")
def real() -> Iterator[la.Base]:
    with la.Base.load(device="cpu") as base:
        yield base


def rows_of(base: la.Base, count: int) -> list[TrainingRow]:
    path = ROLES / "concierge" / "train.jsonl"
    limits = {"max_tokens": 512, "context": base.context_length}
    return DialogueCurriculum(path, read_examples(path)[:count], base.template, **limits).rows()


def test_a_long_prompt_moves_into_a_plugin(real: la.Base, tmp_path: Path) -> None:
    """The plugin without the prompt is nearer to the base with it than the bare base is, on held-out queries."""
    prompt = tmp_path / "policy.md"
    prompt.write_text(load_role(ROLES / "concierge").prompt)
    dialogues = [
        json.loads(line)["messages"] for line in (ROLES / "concierge" / "train.jsonl").read_text().splitlines()
    ]
    queries = write_jsonl(tmp_path / "q.jsonl", [{"query": d[0]["content"]} for d in dialogues[:40]])
    report = la.train_role(
        prompt=prompt, queries=queries, name="concise", out=tmp_path / "concise", base=real, settings=SMALL
    )
    assert report.published
    assert report.after.nll < report.before.nll
    answer = la.Agent("concise", base=real, role=tmp_path / "concise").run("When is breakfast?", max_tokens=40)
    assert answer.usage.prompt_tokens < 30


def test_a_killed_training_goes_on_to_the_same_curve(tmp_path: Path) -> None:
    """SIGKILL in the middle; the command with --resume ends with the losses of a run that nobody touched."""
    lines = (ROLES / "concierge" / "train.jsonl").read_text().splitlines()
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "role.toml").write_text(f'name = "{name}"\npersona = "You are a concierge."\n')
        (tmp_path / name / "train.jsonl").write_text("\n".join(lines[:40]) + "\n")
        (tmp_path / name / "eval.jsonl").write_text("\n".join(lines[40:42]) + "\n")
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    train = [
        sys.executable, "-c",
        "import loragent.training.loop as loop; loop.CHECKPOINT_SECONDS = 1.0; from loragent.cli import main; main()",
        "train", "role", *sets,
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*train, tmp_path / "whole", "--force"], check=True, **quiet)  # type: ignore[call-overload]
    run = subprocess.Popen([*train, tmp_path / "killed"], start_new_session=True, **quiet)  # type: ignore[call-overload]
    metrics = tmp_path / "killed" / ".run" / "metrics.jsonl"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 5):
        assert run.poll() is None
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "killed" / "plugin").exists()
    subprocess.run([*train, tmp_path / "killed", "--force", "--resume"], check=True, **quiet)  # type: ignore[call-overload]
    curves = [(tmp_path / name / "plugin" / "1" / "metrics.jsonl").read_text() for name in ("whole", "killed")]
    assert curves[0] == curves[1]


def test_the_base_answers_while_it_trains_and_is_there_once(real: la.Base, tmp_path: Path) -> None:
    rows = rows_of(real, 24)
    request = la.GenerationRequest("What is the capital of France?", max_tokens=8)
    wanted, answers = real.generate(request)[0].token_ids, []

    def ask(_: object) -> None:
        answers.append(real.generate(request)[0].token_ids)

    settings = TrainSettings.model_validate(SMALL | {"epochs": 1})
    with Resident() as memory:
        real.fit(rows, settings, tmp_path / "run", on_step=ask)
    assert len(answers) >= 5
    assert set(answers) == {wanted}
    weights = 4 * (sum(o * i for o, i in real.shapes.values()) + real.embedding_size)
    assert memory.growth < 0.6 * weights


def test_what_stock_peft_wrote_is_imported_and_answers_alike(tmp_path: Path) -> None:
    real = la.Base.load(device="cpu", dtype="float32")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(real.path, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True)
    foreign = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in foreign.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    foreign.save_pretrained(tmp_path / "foreign")
    library = la.Library(tmp_path / "library")
    plugin = library.import_(tmp_path / "foreign", "guest", base=real.fingerprint, shapes=real.shapes)
    tokenizer = AutoTokenizer.from_pretrained(real.path)
    messages = [{"role": "user", "content": "Tell me about the sea."}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    bare = AutoModelForCausalLM.from_pretrained(real.path, dtype=torch.float32)
    stock = PeftModel.from_pretrained(bare, tmp_path / "foreign").eval()
    out = stock.generate(**ids, max_new_tokens=24, do_sample=False, pad_token_id=2)
    reply = real.generate(la.GenerationRequest("Tell me about the sea.", [plugin.path], max_tokens=24))[0]
    real.close()
    assert list(reply.token_ids) == out[0, ids["input_ids"].shape[1] :].tolist()


def test_a_pipeline_of_shipped_roles(real: la.Base) -> None:
    agents = [la.Agent(name, base=real, role=ROLES / name) for name in ("reservations", "housekeeping")]
    result = la.Session(agents, pattern="pipeline").run("Is there a double room free on 4 May?")
    assert [entry.agent for entry in result.transcript] == ["reservations", "housekeeping"]
    assert all(entry.reply.text or entry.reply.tool_calls for entry in result.transcript)
    assert str(result.transcript[1].reply.stack[0]).startswith("housekeeping@")
