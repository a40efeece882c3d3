"""The builders: from parameters and artifacts to an artifact directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect.states import Failed
from pydantic import ValidationError

from model.config import ModelConfig
from model.presets import preset
from model.weights import load_model
from tasks.context import StageContext, recipe_parameters
from tasks.runner import CorruptInput
from tasks.training import build
from tasks.training.build import build_finetuning, build_pretraining
from tasks.training.engine.config import ConfigError, EngineConfig
from tasks.training.launch import TrainerDiverged, TrainerFailed
from tasks.training.parameters import (
    ExportParameters,
    FinetuningParameters,
    PretrainingParameters,
)
from tasks.training.stage import worth_retrying
from tests.tasks.training.support import (
    CONTEXT,
    TINY_MODEL,
    VOCABULARY,
    config_values,
    write_instructions,
    write_tokens,
)

SHAPE = ModelConfig.model_validate({**TINY_MODEL, "vocab_size": VOCABULARY + 8})
PRETRAINING = PretrainingParameters(
    shape=SHAPE,
    steps=6,
    context=CONTEXT,
    global_batch=8,
    micro_batch=4,
    warmup_steps=2,
    threads=1,
    checkpoint_every=3,
)
CONTENT = ("model.safetensors", "config.json", "tokenizer.model", "summary.json")


def stage(root: Path, name: str) -> StageContext:
    out, work = root / f"{name}-out", root / f"{name}-work"
    out.mkdir()
    work.mkdir()
    return StageContext(out=out, work=work)


def test_pretraining_then_finetuning_make_checkpoint_artifacts(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.model").write_bytes(b"a tokenizer is only copied here")

    first = stage(tmp_path, "first")
    result = build_pretraining(PRETRAINING, tokens, tokenizer, first)
    assert sorted(p.name for p in first.out.iterdir()) == sorted([*CONTENT, "logs"])
    assert result.counts["steps"] == 6 and result.counts["tokens"] == 6 * 8 * CONTEXT
    assert set(result.counts["epochs"]) == {"wikipedia", "books"}
    assert result.seeds == {"seed": 0} and result.reproducibility == "bit"
    assert "set to the tokenizer's 64" in result.notes[0]
    assert load_model(first.out).config.vocab_size == VOCABULARY
    timing = json.loads((first.logs / "training.json").read_text())
    assert timing["sessions"] == 1 and timing["tokens_per_s"] > 0 and 0 < timing["goodput"] <= 1
    for name in CONTENT:
        assert str(tmp_path).encode() not in (first.out / name).read_bytes()

    again = stage(tmp_path, "again")
    build_pretraining(PRETRAINING, tokens, tokenizer, again)
    for name in CONTENT:
        assert (first.out / name).read_bytes() == (again.out / name).read_bytes()

    measured = stage(tmp_path, "measured")  # peak_flops is no part of the recipe
    on_gpu = PRETRAINING.model_copy(update={"peak_flops": 1e12, "checkpoint_every": 2})
    assert recipe_parameters(on_gpu) == recipe_parameters(PRETRAINING)
    build_pretraining(on_gpu, tokens, tokenizer, measured)
    assert "6N + 12LdT" in json.loads((measured.logs / "training.json").read_text())["mfu_formula"]
    for name in CONTENT:
        assert (first.out / name).read_bytes() == (measured.out / name).read_bytes()

    tuned = stage(tmp_path, "tuned")
    instructions = write_instructions(tmp_path / "instructions", rows=24)
    parameters = FinetuningParameters(
        global_batch=8, micro_batch=8, epochs=1.5, warmup_steps=9, threads=1, learning_rate=1e-3
    )
    result = build_finetuning(parameters, first.out, instructions, tuned)
    assert result.counts["steps"] == 5 and result.counts["epochs"] == pytest.approx(40 / 24)
    assert "warm-up of 9 steps cut to 4" in result.notes[0]
    assert sorted(p.name for p in tuned.out.iterdir()) == sorted([*CONTENT, "logs"])
    assert (tuned.out / "model.safetensors").read_bytes() != (
        first.out / "model.safetensors"
    ).read_bytes()


def test_context_longer_than_the_data_is_a_configuration_error(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    long = preset("nano").model_copy(update={"context": 1 << 20})
    parameters = PretrainingParameters(steps=30, context=256 * 64, shape=long)
    with pytest.raises(ConfigError, match="shorter context"):
        build_pretraining(parameters, tokens, tmp_path, stage(tmp_path, "x"))
    with pytest.raises(
        ValidationError, match="512 is longer than the model's: preset nano has 256"
    ):
        PretrainingParameters(steps=30, context=512)


@pytest.mark.parametrize(("bad_steps", "rollbacks"), [(3, 1), (0, 1), (2, 0), (0, 0)])
def test_skipped_steps_and_roll_backs_are_in_the_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad_steps: int, rollbacks: int
) -> None:
    context = stage(tmp_path, "x")
    final = context.work / "final"
    final.mkdir()
    names = ("steps", "tokens", "parameters", "world")
    summary = {**dict.fromkeys(names, 1), "bad_steps": bad_steps, "rollbacks": rollbacks}
    (final / "summary.json").write_text(json.dumps({**summary, "skipped_batches": [5]}))
    for name in ("model.safetensors", "config.json"):
        (final / name).write_bytes(b"x")
    for name in ("trainer.log", "metrics.jsonl", "events.jsonl", "tokenizer.model"):
        (context.work / name).write_bytes(b"")
    monkeypatch.setattr(build, "launch", lambda *args, **options: None)
    config = EngineConfig.model_validate(config_values(tmp_path, context.work))
    notes: list[str] = []
    result = build.train(config, context.work / "tokenizer.model", context, notes)
    assert result.counts["bad_steps"] == bad_steps
    said = [f"{bad_steps} steps were skipped" in note for note in result.notes]
    assert said == ([True] if bad_steps or rollbacks else [])
    assert all(f"{rollbacks} roll-backs" in note for note in result.notes)


def test_configuration_error_names_the_field() -> None:
    run = {"mode": "pretrain", "model": SHAPE, "data": Path("a"), "work": Path("b")}
    with pytest.raises(ConfigError, match="steps: Input should be greater than 0; context: "):
        build.resolve(PRETRAINING, **run, steps=0, context=0)


def test_all_problems_of_the_form_are_named_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        PretrainingParameters(steps=5, warmup_steps=20, global_batch=6, micro_batch=4, world=2)
    assert "global_batch 6" in str(caught.value) and "warmup_steps 20" in str(caught.value)
    with pytest.raises(ValidationError, match="Known presets"):
        PretrainingParameters(preset="8T")


@pytest.mark.parametrize("model", [PretrainingParameters, FinetuningParameters, ExportParameters])
def test_every_field_of_the_form_is_described(model: type) -> None:
    for name, info in model.model_fields.items():  # type: ignore[attr-defined]
        assert info.title and info.description, name


def test_fields_that_do_not_change_the_result_are_no_part_of_the_recipe() -> None:
    recipe = recipe_parameters(PRETRAINING)
    assert "checkpoint_every" not in recipe and "grace_seconds" not in recipe
    assert {"world", "threads", "micro_batch", "strategy", "recompute"}.isdisjoint(recipe)
    assert {"seed", "steps", "global_batch", "precision", "spike_sigmas"} <= recipe.keys()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError("x"), False),
        (TrainerDiverged("x"), False),
        (CorruptInput("x"), False),
        (TrainerFailed("x"), True),
        (OSError("x"), True),
    ],
)
def test_only_what_may_go_better_is_retried(error: Exception, expected: bool) -> None:
    assert worth_retrying(None, None, Failed(data=error)) is expected
