"""Plans of training runs: hours beside the paper's, layouts that fit, edges."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from model.gpus import GPUS
from tasks.emissions.forecast import PlanReport, plan
from tasks.emissions.methods import paper_row
from tasks.planning.layout import USABLE
from tasks.planning.parameters import PlanParameters
from tasks.planning.tables import markdown, training_rows


def planned(**given: Any) -> PlanReport:
    return plan(PlanParameters(**given))


@pytest.mark.parametrize("preset", ["7B", "13B", "33B", "65B"])
def test_hours_energy_and_carbon_stand_beside_table_15(preset: str) -> None:
    report = planned(preset=preset, gpus=2048, gpu="a100")
    paper = report.paper
    assert paper is not None
    assert abs(paper.gpu_hours_difference) < 0.15
    assert report.gpu_hours == pytest.approx(paper.gpu_hours, rel=0.15)
    assert report.kwh / 1000 == pytest.approx(paper.mwh, rel=0.15)
    assert report.tco2eq == pytest.approx(paper.tco2eq, rel=0.15)
    assert paper_row(int(paper.gpu_hours))[0] == paper.mwh
    assert report.fits and report.sharding != "ddp"
    assert f"paper {paper.gpu_hours:,.0f}" in training_rows(report)["GPU-hours"]


def test_the_papers_largest_run_fits_fully_sharded_only() -> None:
    report = planned(preset="65B")
    assert (report.sharding, report.shard, report.accumulation) == ("fsdp", 2048, 1)
    assert report.steps == 333_786
    assert report.memory_per_gpu_gib <= USABLE * 80
    by = report.memory_by_recompute_gib
    assert by["none"] > by["selective"] > by["full"]
    assert by[report.recompute] == pytest.approx(report.memory_per_gpu_gib)
    assert not planned(preset="65B", sharding="hsdp").fits
    assert not planned(preset="65B", sharding="ddp").fits


def test_smaller_models_keep_more_copies() -> None:
    assert planned(preset="1B", gpus=64).sharding == "ddp"
    seven = planned(preset="7B", gpus=64)
    assert (seven.sharding, seven.shard) == ("hsdp", 8)
    assert planned(preset="7B", gpus=8).sharding == "fsdp"
    assert planned(preset="7B", gpus=1).fits is False
    assert planned(preset="nano", tokens=10**9, gpus=1).paper is None


def test_memory_that_is_scarcer_is_paid_with_recomputation() -> None:
    roomy = planned(preset="65B", gpu="h200")
    tight = planned(preset="65B", gpu="A100-40GB")
    assert (roomy.recompute, tight.recompute) == ("none", "full")
    assert roomy.fits and tight.fits
    assert planned(preset="65B", recompute="selective").recompute == "selective"


def test_what_is_fixed_is_kept() -> None:
    report = planned(preset="7B", gpus=64, sharding="fsdp", recompute="full", micro_batch=2)
    assert (report.sharding, report.recompute, report.micro_batch) == ("fsdp", "full", 2)
    assert report.accumulation == 16
    assert any("whole on each GPU" in note for note in report.notes)
    with pytest.raises(ValidationError, match="hsdp needs several whole nodes: 12 GPUs"):
        PlanParameters(gpus=12, sharding="hsdp")


def test_a_gpu_without_bf16_plans_in_fp16_and_says_so() -> None:
    report = planned(preset="7B", gpus=2048, gpu="v100")
    assert report.precision == "fp16"
    assert any("no bf16: planned in fp16" in note for note in report.notes)
    full = planned(preset="7B", gpus=2048, gpu="v100", precision="fp32")
    assert full.peak_flops_per_gpu == GPUS["V100-32GB"].peak_fp32
    assert full.gpu_hours > report.gpu_hours
    assert not any("loss scale" in note for note in full.notes)
    with pytest.raises(ValidationError, match="V100-32GB has no bf16"):
        PlanParameters(gpu="v100", precision="bf16")


def test_fits_is_decided_by_the_usable_part_of_the_memory() -> None:
    for gpus in (1, 2, 4, 8, 16, 64):
        for preset in ("1B", "7B", "13B"):
            report = planned(preset=preset, gpus=gpus)
            assert report.fits == (report.memory_per_gpu_gib <= USABLE * report.gpu_memory_gib)


def test_the_parts_add_up_to_the_total() -> None:
    report = planned(preset="13B", recompute="full", sharding="fsdp")
    parts = report.memory.model_dump()
    smaller = min(parts["recomputed"], parts["loss"])
    assert sum(parts.values()) - smaller == pytest.approx(report.memory_per_gpu_gib)


def test_a_batch_that_does_not_divide_is_noted() -> None:
    notes = planned(preset="7B", gpus=1000).notes
    assert any("no multiple of GPUs" in note for note in notes)
    assert any("More GPUs than sequences" in n for n in planned(preset="7B", gpus=4096).notes)


def test_markdown_has_every_line() -> None:
    report = planned(preset="65B")
    text = markdown(report)
    assert all(
        f"| {name.strip()} | {value} |" in text for name, value in training_rows(report).items()
    )
