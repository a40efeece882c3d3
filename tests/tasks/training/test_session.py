"""The loop in one process: accumulation, roll-back, resume, evaluation, finetuning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from model.config import ModelConfig
from model.llama import Llama
from model.weights import load_model
from tasks.training.build import timings
from tasks.training.engine.config import FAULTS_ALLOWED, ConfigError, EngineConfig
from tasks.training.engine.guards import Diverged
from tasks.training.engine.loop import Outcome, Session
from tasks.training.engine.metrics import read_lines
from tasks.training.instructions.order import InstructionOrder
from tests.tasks.training.support import (
    config_values,
    events,
    losses,
    write_instructions,
    write_tokens,
)


@pytest.fixture(autouse=True)
def _clean_accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(FAULTS_ALLOWED, "1")
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


def run(data: Path, work: Path, **changes: Any) -> Path:
    session = Session(EngineConfig(**config_values(data, work, **changes)))
    assert session.run() is Outcome.DONE
    return work


def weights(work: Path) -> bytes:
    return (work / "final" / "model.safetensors").read_bytes()


def test_accumulation_gives_the_same_losses(tokens: Path, tmp_path: Path) -> None:
    curves = []
    for micro in (8, 4, 2):
        work = run(tokens, tmp_path / f"m{micro}", micro_batch=micro, steps=20)
        curves.append(losses(work))
        AcceleratorState._reset_state(True)
    assert len(curves[0]) == 20 and curves[0][20] < curves[0][1]
    for other in curves[1:]:
        assert max(abs(other[s] - curves[0][s]) for s in other) < 2e-6


def test_loss_is_the_mean_over_the_global_batch(tokens: Path, tmp_path: Path) -> None:
    config = EngineConfig(
        **config_values(tokens, tmp_path, micro_batch=2, steps=1, schedule={"warmup_steps": 0})
    )
    session = Session(config)
    raw = torch.from_numpy(session.order.batch(0, 8).astype(np.int64))
    model = Llama(ModelConfig.model_validate(config.model))
    model.init_weights(config.seed)
    logits = model(raw[:, :-1])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), raw[:, 1:].flatten())
    session.run()
    assert losses(tmp_path)[1] == pytest.approx(expected.item(), abs=1e-6)


def test_rates_in_the_metrics_depend_on_the_step_alone(tokens: Path, tmp_path: Path) -> None:
    def rates(work: Path) -> list[float]:
        lines = map(json.loads, (work / "metrics.jsonl").read_text().splitlines())
        return [line["learning_rate"] for line in lines if "loss" in line]

    whole = rates(run(tokens, tmp_path / "a"))
    AcceleratorState._reset_state(True)
    calls = iter(range(100))
    config = EngineConfig(**config_values(tokens, tmp_path / "b", micro_batch=4))
    stopped = Session(config, stop_requested=lambda: next(calls) >= 4)
    assert stopped.run() is Outcome.PREEMPTED
    AcceleratorState._reset_state(True)
    assert rates(run(tokens, tmp_path / "b", micro_batch=4)) == whole


@pytest.mark.parametrize("stop_at", [0, 3, 6])
def test_stopped_and_resumed_run_is_bit_equal(tokens: Path, tmp_path: Path, stop_at: int) -> None:
    whole = weights(run(tokens, tmp_path / "whole"))
    AcceleratorState._reset_state(True)
    calls = iter(range(100))
    config = EngineConfig(**config_values(tokens, tmp_path / "parts"))
    first = Session(config, stop_requested=lambda: next(calls) >= stop_at)
    assert first.run() is Outcome.PREEMPTED and first.state.step == stop_at + 1
    AcceleratorState._reset_state(True)
    assert weights(run(tokens, tmp_path / "parts")) == whole
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    summaries = [(tmp_path / n / "final/summary.json").read_bytes() for n in ("whole", "parts")]
    assert summaries[0] == summaries[1]


def test_stop_within_a_step_gives_the_step_up(tokens: Path, tmp_path: Path) -> None:
    whole = weights(run(tokens, tmp_path / "whole", micro_batch=2))
    AcceleratorState._reset_state(True)
    asked: list[int] = []
    first: Session

    def second_micro_batch_of_step_5() -> bool:
        asked.append(first.state.step)
        return asked.count(5) >= 3  # once before the step, then after each micro-batch

    config = EngineConfig(**config_values(tokens, tmp_path / "parts", micro_batch=2))
    first = Session(config, stop_requested=second_micro_batch_of_step_5)
    assert first.run() is Outcome.PREEMPTED
    assert first.state.step == 5 and asked.count(5) == 3
    assert all(p.grad is None for p in first.state.model.parameters())
    AcceleratorState._reset_state(True)
    assert weights(run(tokens, tmp_path / "parts", micro_batch=2)) == whole
    assert [e["step"] for e in events(tmp_path / "parts") if e["event"] == "resumed"] == [5]


def test_every_micro_batch_is_a_sign_of_life(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(EngineConfig(**config_values(tokens, tmp_path, micro_batch=2, steps=4)))
    beats: list[int] = []
    monkeypatch.setattr(session.log, "beat", lambda: beats.append(session.state.step))
    session.restore()
    session._one_step()
    assert beats.count(0) >= 4  # 8 sequences, 2 at a time


def test_damaged_newest_checkpoint_is_reported_and_walked_back_from(
    tokens: Path, tmp_path: Path
) -> None:
    whole = weights(run(tokens, tmp_path / "run"))
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    path = newest / "optimizer-00000.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.write_bytes(damaged)
    AcceleratorState._reset_state(True)
    assert weights(run(tokens, tmp_path / "run")) == whole
    names = [event["event"] for event in events(tmp_path / "run")]
    assert "checkpoint_refused" in names and "resumed" in names
    refused = next(e for e in events(tmp_path / "run") if e["event"] == "checkpoint_refused")
    assert "optimizer-00000.safetensors" in refused["reason"]


def test_single_bad_step_is_skipped_by_leaving_the_weights_alone(
    tokens: Path, tmp_path: Path
) -> None:
    work = run(tokens, tmp_path, fault={"nan_at": [2]})
    summary = json.loads((work / "final/summary.json").read_text())
    assert summary["bad_steps"] == 1 and summary["rollbacks"] == 0
    assert summary["steps"] == 12 and summary["loss"] < losses(work)[1]
    skipped = [e for e in events(work) if e["event"] == "step_skipped"]
    assert [e["data_batch"] for e in skipped] == [2]
    assert all(torch.isfinite(p).all() for p in load_model(work / "final").parameters())


@pytest.mark.parametrize("every", [4, 100])
def test_roll_back_ends_where_a_run_without_those_batches_ends(
    tokens: Path, tmp_path: Path, every: int
) -> None:
    bad = [5, 6, 7]
    rolled = run(tokens, tmp_path / "a", fault={"nan_at": bad}, checkpoint_every=every)
    AcceleratorState._reset_state(True)
    clean = run(tokens, tmp_path / "b", skip_batches=bad)
    assert weights(rolled) == weights(clean)
    summary = json.loads((rolled / "final/summary.json").read_text())
    assert summary["skipped_batches"] == bad and summary["rollbacks"] == 1
    assert summary["bad_steps"] == 3
    assert losses(rolled) == losses(clean)
    steps = [line["step"] for line in read_lines(rolled / "metrics.jsonl") if "loss" in line]
    assert steps == list(range(1, 13))  # each stands in the file once
    assert timings(rolled)["sessions"] == 1  # a roll-back is no new start


@pytest.mark.parametrize("stop_at", [5, 6, 7])
def test_stop_among_bad_steps_does_not_change_where_the_roll_back_goes(
    tokens: Path, tmp_path: Path, stop_at: int
) -> None:
    fault = {"nan_at": [5, 6, 7]}
    whole = run(tokens, tmp_path / "whole", fault=fault)
    AcceleratorState._reset_state(True)
    calls = iter(range(100))
    config = EngineConfig(**config_values(tokens, tmp_path / "parts", fault=fault))
    first = Session(config, stop_requested=lambda: next(calls) >= stop_at)
    assert first.run() is Outcome.PREEMPTED
    AcceleratorState._reset_state(True)
    parts = run(tokens, tmp_path / "parts", fault=fault)
    for name in ("model.safetensors", "summary.json"):
        assert (parts / "final" / name).read_bytes() == (whole / "final" / name).read_bytes()
    assert losses(parts) == losses(whole)


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl"])
@pytest.mark.parametrize("torn", [b'{"event": "chec', b'{"step": 3, "lo', b"\x00\x00\xff", b"12"])
def test_torn_line_of_a_log_costs_only_that_line(
    tokens: Path, tmp_path: Path, name: str, torn: bytes
) -> None:
    calls = iter(range(100))
    first = Session(
        EngineConfig(**config_values(tokens, tmp_path)), stop_requested=lambda: next(calls) >= 5
    )
    first.run()
    AcceleratorState._reset_state(True)
    before = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(torn + b"\n" + before + torn)  # lost pages, and a cut-off line
    run(tokens, tmp_path)
    assert sorted(losses(tmp_path)) == list(range(1, 13))
    assert len(read_lines(tmp_path / name)) > before.count(b"\n")
    found = timings(tmp_path)
    assert found["steps_logged"] == 12 and found["sessions"] == 2 and found["goodput"] > 0
    for path in ("events.jsonl", "metrics.jsonl"):
        (tmp_path / path).write_bytes(torn)
    assert timings(tmp_path)["steps_logged"] == 0


def test_run_that_stays_non_finite_gives_up(tokens: Path, tmp_path: Path) -> None:
    config = EngineConfig(
        **config_values(tokens, tmp_path, fault={"nan_at": list(range(50))}, max_rollbacks=2)
    )
    with pytest.raises(Diverged, match="after 2 roll-backs"):
        Session(config).run()
    assert not (tmp_path / "final").exists()


def test_faults_need_the_test_environment(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FAULTS_ALLOWED)
    with pytest.raises(ConfigError, match="is for tests"):
        Session(EngineConfig(**config_values(tokens, tmp_path, fault={"kill_at_step": 1})))


def test_requested_processes_must_be_running(tokens: Path, tmp_path: Path) -> None:
    config = EngineConfig(**config_values(tokens, tmp_path, world=2, micro_batch=4))
    with pytest.raises(ConfigError, match="2 processes were requested but 1 are running"):
        Session(config)


def test_checkpoints_of_another_run_are_refused(tokens: Path, tmp_path: Path) -> None:
    run(tokens, tmp_path)
    AcceleratorState._reset_state(True)
    other = EngineConfig(**config_values(tokens, tmp_path, seed=6))
    with pytest.raises(ConfigError, match="other seed"):
        Session(other).run()


def test_validation_scores_each_held_out_token_once(tokens: Path, tmp_path: Path) -> None:
    work = run(tokens, tmp_path, validation_tokens=0, micro_batch=4)
    validation = json.loads((work / "final/summary.json").read_text())["validation"]
    model = load_model(work / "final").eval()
    for source in ("wikipedia", "books"):
        stream = np.fromfile(tokens / "validation" / f"{source}.bin", dtype="<u2").astype(np.int64)
        total, count = 0.0, 0
        for start in range(0, len(stream) - 1, 16):
            ids = torch.from_numpy(stream[start : start + 17])[None]
            with torch.no_grad():
                logp = model(ids[:, :-1]).log_softmax(-1)
            total -= float(logp.gather(2, ids[:, 1:, None]).sum())
            count += ids.shape[1] - 1
        assert validation[source]["tokens"] == count == len(stream) - 1
        assert validation[source]["loss"] == pytest.approx(total / count, abs=1e-5)


@pytest.fixture
def base(tokens: Path, tmp_path: Path) -> Path:
    work = run(tokens, tmp_path / "base", steps=4)
    AcceleratorState._reset_state(True)
    return work / "final"


def finetuning(data: Path, base: Path, **changes: Any) -> dict[str, Any]:
    options = {"mode": "finetune", "init_from": str(base)}
    return {**options, "context": 15, "steps": 6, "schedule": {"warmup_steps": 1}, **changes}


def test_finetuning_learns_from_targets_only(base: Path, tmp_path: Path) -> None:
    data = write_instructions(tmp_path / "instructions")
    first = run(data, tmp_path / "a", **finetuning(data, base))
    summary = json.loads((first / "final/summary.json").read_text())
    assert summary["tokens"] == 6 * 8 * 7  # 4 + 3 targets a row
    assert summary["validation"]["instructions"]["tokens"] == 4 * 7
    # The loss is the mean over these targets of the base model, each example on its own.
    model = load_model(base)
    raw = InstructionOrder(data, seed=5).batch(0, 8)
    total = 0.0
    for row in range(8):
        for begin, end, targets in ((0, 7, range(3, 7)), (7, 13, range(10, 13))):
            ids = torch.from_numpy(raw["input_ids"][row, begin:end].astype(np.int64))[None]
            with torch.no_grad():
                logp = model(ids).log_softmax(-1)[0]
            total -= sum(float(logp[t - begin - 1, ids[0, t - begin]]) for t in targets)
    assert losses(first)[1] == pytest.approx(total / (8 * 7), abs=2e-5)


def test_finetuning_accumulates_ragged_targets_exactly(base: Path, tmp_path: Path) -> None:
    data = write_instructions(tmp_path / "instructions")
    mask = np.load(data / "loss_mask.npy")
    mask[::2, :8] = 0
    mask[1] = 0
    mask[2:4] = 0  # with a micro-batch of 2: a fully masked micro-batch in every pass over the data
    np.save(data / "loss_mask.npy", mask)
    curves = []
    for micro in (8, 2, 1):
        work = run(data, tmp_path / f"m{micro}", **finetuning(data, base, micro_batch=micro))
        curves.append(losses(work))
        AcceleratorState._reset_state(True)
    for other in curves[1:]:
        assert max(abs(other[s] - curves[0][s]) for s in other) < 2e-6
    assert all(np.isfinite(value) for value in curves[1].values())
