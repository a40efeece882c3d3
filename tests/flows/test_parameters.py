"""Presets and overrides: everything resolves, and every mistake is named, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows import parameters as composed
from flows.parameters import PipelineParameters, Preset, load_preset, resolve
from model.presets import preset as shape


def form(*overrides: str, **fields: Any) -> PipelineParameters:
    return PipelineParameters(overrides=list(overrides), **fields)


@pytest.mark.parametrize("preset", list(Preset), ids=lambda member: member.value)
def test_every_preset_resolves(preset: Preset) -> None:
    config = resolve(form(preset=preset))
    assert shape(config.pretraining.preset).dim > 0
    assert config.pretraining.warmup_steps < config.pretraining.steps
    assert config.pretraining.context <= shape(config.pretraining.preset).context


def test_the_paper_s_models_have_the_paper_s_settings() -> None:
    for name, rate in [("7B", 3e-4), ("13B", 3e-4), ("33B", 1.5e-4), ("65B", 1.5e-4)]:
        run = resolve(form(preset=name)).pretraining
        assert (run.learning_rate, run.warmup_steps, run.context) == (rate, 2000, 2048), name
        assert run.global_batch * run.context == 4 * 2**20, name
        assert (run.beta1, run.beta2, run.weight_decay, run.clip) == (0.9, 0.95, 0.1, 1.0), name
    assert resolve(form(preset="7B")).tokenizer.vocab_size == 32_000


def test_the_nano_preset_reads_installed_packages() -> None:
    config = resolve(form(preset="nano"))
    assert config.corpus.github_packages is True
    assert config.tokenizer.vocab_size == 4096
    assert config.pretraining.preset == "nano"


def test_an_unknown_preset_names_near_ones() -> None:
    with pytest.raises(ValueError, match=r"no preset 'nanno'; did you mean nano\?"):
        load_preset("nanno")
    with pytest.raises(ValueError, match=r"no preset 'zzz'; presets: 110M, 13B"):
        load_preset("zzz")
    assert load_preset("NANO") == load_preset("nano")


def test_the_form_refuses_an_unknown_preset_and_field() -> None:
    with pytest.raises(ValidationError, match="'nano'"):
        PipelineParameters.model_validate({"preset": "8T"})
    with pytest.raises(ValidationError, match="presett"):
        PipelineParameters.model_validate({"presett": "nano"})


def test_overrides_are_read_as_yaml() -> None:
    config = resolve(
        form(
            "pretraining.steps=500",
            "pretraining.learning_rate=0.002",
            "pretraining.mask_documents=true",
            "pretraining.skip_batches=[3, 5]",
            "evaluation.item_limit=null",
            "evaluation.benchmarks=[arc_easy, mmlu]",
            "corpus.caps.books.max_documents=7",
            "finetuning.precision=bf16",
        )
    )
    run = config.pretraining
    assert (run.steps, run.learning_rate, run.mask_documents) == (500, 0.002, True)
    assert run.skip_batches == (3, 5)
    assert config.evaluation.item_limit is None
    assert len(config.evaluation.benchmarks) == 2
    # An override inside a mapping keeps what the preset says beside it.
    nano = resolve(form())
    assert config.corpus.caps["books"].max_documents == 7
    assert config.corpus.caps["books"].max_bytes == nano.corpus.caps["books"].max_bytes
    assert config.corpus.caps["c4"] == nano.corpus.caps["c4"]
    assert config.finetuning.precision == "bf16"


def test_the_last_of_two_overrides_counts() -> None:
    assert resolve(form("pretraining.steps=400", "pretraining.steps=300")).pretraining.steps == 300


def test_overrides_do_not_stay() -> None:
    before = resolve(form())
    resolve(form("pretraining.steps=77", "corpus.caps.books.max_bytes=1"))
    assert resolve(form()) == before


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ValueError) as raised:
        resolve(
            form(
                "pretrainin.steps=5",
                "steps=5",
                "pretraining.steps",
                "pretraining.clip=[1",
                "pretraining.learning_rate=-1",
                "tokenizer.vocab_size=many",
                "evaluation.item_limits=3",
            )
        )
    text = str(raised.value)
    for part in (
        "no stage 'pretrainin'",
        "'steps=5': write stage.field=value",
        "'pretraining.steps': write stage.field=value",
        "'pretraining.clip=[1': the value is not readable",
        "pretraining.learning_rate",
        "tokenizer.vocab_size",
        "evaluation.item_limits",
    ):
        assert part in text, part
    assert len(text.splitlines()) == 8


def test_a_misspelt_stage_and_field_name_the_near_one() -> None:
    with pytest.raises(ValueError, match=r"did you mean pretraining\?"):
        resolve(form("pretrainin.steps=5"))
    with pytest.raises(ValueError, match=r"evaluation\.item_limits.*did you mean item_limit\?"):
        resolve(form("evaluation.item_limits=3"))
    with pytest.raises(ValueError, match=r"corpus\.caps\.books\.max_byte\b.*max_bytes\?"):
        resolve(form("corpus.caps.books.max_byte=3"))


def test_problems_across_fields_name_the_stage() -> None:
    with pytest.raises(ValueError, match=r"pretraining: .*warmup_steps 900 must be below"):
        resolve(form("pretraining.warmup_steps=900"))
    with pytest.raises(ValueError, match=r"finetuning: .*must be a multiple"):
        resolve(form("finetuning.micro_batch=5"))


def test_an_override_through_a_plain_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pretraining\.steps"):
        resolve(form("pretraining.steps.more=5"))


def test_the_form_s_switches_reach_the_corpus() -> None:
    config = resolve(form(allow_missing_sources=True, strict=True))
    assert config.corpus.allow_missing_sources and config.corpus.strict
    plain = resolve(form())
    assert not plain.corpus.allow_missing_sources and not plain.corpus.strict


def test_a_preset_that_is_no_mapping_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nano.yaml").write_text("- corpus\n", encoding="utf-8")
    monkeypatch.setattr(composed, "PRESETS", tmp_path)
    with pytest.raises(ValueError, match="preset nano: a mapping of stages"):
        load_preset("nano")
