"""FSDP2 and HSDP on two and four processes: the losses of one, and checkpoints across layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tasks.training.engine import checkpoint
from tasks.training.engine.config import FAULTS_ALLOWED, EngineConfig
from tasks.training.launch import TrainerFailed, launch
from tests.tasks.training.support import config_values, events, losses, write_config, write_tokens

STEPS, AT = 40, 20
BOUND = 2e-6  # nats, fp32, over 20 steps

LAYOUTS: dict[str, dict[str, Any]] = {
    "one": {},
    "ddp 2": {"world": 2, "micro_batch": 4},
    "fsdp 2": {"world": 2, "micro_batch": 4, "strategy": "fsdp"},
    "fsdp 4": {"world": 4, "micro_batch": 2, "strategy": "fsdp"},
    "hsdp 2x2": {"world": 4, "micro_batch": 2, "strategy": "hsdp", "shard": 2},
}
RESHARD = [
    ("fsdp 2", "fsdp 4"),
    ("fsdp 4", "one"),
    ("ddp 2", "fsdp 2"),
    ("one", "hsdp 2x2"),
    ("hsdp 2x2", "ddp 2"),
]
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


def train(tokens: Path, work: Path, **changes: Any) -> Path:
    config = write_config(tokens, work, **{"steps": STEPS, "checkpoint_every": AT, **changes})
    environment = {FAULTS_ALLOWED: "1"}
    log = work / "trainer.log"
    launch(config, log_path=log, poll_seconds=0.1, environment=environment)
    return work


@pytest.fixture(scope="module")
def alone(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    return losses(train(tokens, tmp_path_factory.mktemp("alone")))


def furthest(curve: dict[int, float], other: dict[int, float], first: int = 1) -> float:
    assert curve.keys() == other.keys()
    return max(abs(curve[s] - other[s]) for s in curve if first <= s < first + 20)


@pytest.mark.parametrize(
    "changes",
    [
        LAYOUTS["fsdp 2"],
        pytest.param({**LAYOUTS["fsdp 2"], "micro_batch": 1}, marks=slow),
        pytest.param({**LAYOUTS["fsdp 2"], "recompute": "selective"}, marks=slow),
        pytest.param({**LAYOUTS["fsdp 2"], "recompute": "full"}, marks=slow),
        pytest.param(LAYOUTS["fsdp 4"], marks=slow),
        pytest.param(LAYOUTS["hsdp 2x2"], marks=slow),
    ],
    ids=str,
)
def test_sharded_training_has_the_losses_of_one_process(
    tokens: Path, tmp_path: Path, alone: dict[int, float], changes: dict[str, Any]
) -> None:
    work = train(tokens, tmp_path, **changes)
    assert furthest(losses(work), alone) < BOUND
    summary = json.loads((work / "final" / "summary.json").read_text())
    assert set(summary["validation"]) == {"wikipedia", "books"}


@slow
@pytest.mark.parametrize(("before", "after"), RESHARD)
def test_continued_in_another_layout(tokens: Path, tmp_path: Path, before: str, after: str) -> None:
    """The next twenty steps are those of the run that was not moved."""
    stayed = train(tokens, tmp_path / "stayed", **LAYOUTS[before])
    moved = tmp_path / "moved"
    train(tokens, moved, **LAYOUTS[before])
    for path in checkpoint.listed(moved / "checkpoints"):
        if path.name != checkpoint.directory_name(AT):
            path.rename(path.with_name("aside"))
    train(tokens, moved, **LAYOUTS[after])
    assert [e["step"] for e in events(moved) if e["event"] == "resumed"] == [AT]
    assert furthest(losses(moved), losses(stayed), first=AT + 1) < BOUND


@slow
def test_recomputing_activations_changes_no_bit(tokens: Path, tmp_path: Path) -> None:
    kept = train(tokens, tmp_path / "none", steps=6)
    for how in ("selective", "full"):
        work = train(tokens, tmp_path / how, steps=6, recompute=how)
        name = "final/model.safetensors"
        assert (work / name).read_bytes() == (kept / name).read_bytes()


@slow
def test_bf16_shards_stay_near_fp32(tokens: Path, tmp_path: Path, alone: dict[int, float]) -> None:
    work = train(tokens, tmp_path, **LAYOUTS["fsdp 2"], precision="bf16")
    curve = losses(work)
    assert 0 < furthest(curve, alone) < 3e-2
    loaded = checkpoint.Reader(checkpoint.listed(work / "checkpoints")[-1])
    assert loaded.read("model", "output.weight").dtype == torch.float32
    final = load_file(work / "final" / "model.safetensors")
    assert {tensor.dtype for tensor in final.values()} == {torch.float32}
    assert not torch.equal(final["norm.weight"], final["norm.weight"].bfloat16().float())


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=slow)])
def test_validation_leaves_the_parameters_to_the_optimizer(
    tokens: Path, tmp_path: Path, precision: str
) -> None:
    """A pass without a backward pass leaves FSDP2's root gathered: nothing of that is saved."""
    changes = {**LAYOUTS["fsdp 2"], "precision": precision, "steps": 8, "checkpoint_every": 4}
    plain = train(tokens, tmp_path / "plain", **changes)
    often = train(tokens, tmp_path / "often", **changes, validate_every=1)
    name = "final/model.safetensors"
    assert (often / name).read_bytes() == (plain / name).read_bytes()
    for path in checkpoint.listed(often / "checkpoints"):
        loaded = checkpoint.Reader(path)
        known = {full.partition(".")[2] for full in loaded.names("optimizer")}
        assert known == set(loaded.names("model"))


@slow
@pytest.mark.parametrize("layout", ["fsdp 2", "hsdp 2x2"])
def test_killed_and_continued_in_the_same_layout_is_bit_equal(
    tokens: Path, tmp_path: Path, layout: str
) -> None:
    changes = {**LAYOUTS[layout], "steps": 12, "checkpoint_every": 4, "validate_every": 3}
    whole = train(tokens, tmp_path / "whole", **changes)
    with pytest.raises(TrainerFailed):
        train(tokens, tmp_path / "parts", **changes, fault={"kill_at_step": 9, "kill_rank": 1})
    parts = train(tokens, tmp_path / "parts", **changes)
    name = "final/model.safetensors"
    assert (parts / name).read_bytes() == (whole / name).read_bytes()
    assert losses(parts) == losses(whole)


def test_layouts_that_cannot_be_are_refused_together(tmp_path: Path) -> None:
    values = config_values(tmp_path, tmp_path, strategy="hsdp", world=4, micro_batch=2, shard=3)
    with pytest.raises(ValueError, match="shard 3 must be 2 or more and divide world 4"):
        EngineConfig(**values)
    with pytest.raises(ValueError, match="shards over processes, world is 1"):
        EngineConfig(**config_values(tmp_path, tmp_path, strategy="fsdp"))
    with pytest.raises(ValueError, match="leave it at 1"):
        EngineConfig(**config_values(tmp_path, tmp_path, shard=2))
