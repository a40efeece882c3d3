"""Energy in the flows: whose factors count, when the ledger is settled, what a budget refuses."""

from __future__ import annotations

import os
from contextvars import Context
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from flows.session import recorded
from registry.artifacts import Kind
from registry.schema import Emission
from tasks.context import StageContext, StageResult
from tasks.emissions.parameters import EmissionsParameters
from tasks.runner import RunContext, Stage, Workplace, run_stage

OURS = EmissionsParameters(
    pue=1.3,
    intensity=0.05,
    intensity_source="a river",
    gpu_tdp=700,
    cpu_tdp_per_thread=50,
    ram_power_per_gb=2,
)


class Form(BaseModel):
    """A form without factors, as those of single flows."""

    model_config = ConfigDict(frozen=True)

    text: str = "a llama"


class PipelineForm(Form):
    """A form with factors, as the pipeline's."""

    emissions: EmissionsParameters = OURS


def stage_of(run: RunContext, name: str = "words", kind: Kind = Kind.DOCUMENTS) -> None:
    """One attempt, in the middle of which another flow begins and ends."""

    def another_flow() -> None:
        with recorded("nightly-evaluation", Form()):
            pass

    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        (context.out / "words.txt").write_text(name, encoding="utf-8")
        Context().run(another_flow)
        return StageResult()

    run_stage(Stage(name=name, version=1, kind=kind), Form(text=name), {}, run, build)


def rows(place: Workplace, stage: str) -> list[Emission]:
    with place.registry.reading() as session:
        return list(session.scalars(select(Emission).where(Emission.stage == stage)))


@pytest.mark.usefixtures("no_meter")
def test_a_flow_that_ends_first_does_not_charge_others_with_its_factors(place: Workplace) -> None:
    with recorded("pipeline", PipelineForm()), recorded("pretraining", Form()) as run:
        stage_of(run)
    (row,) = rows(place, "words")
    assert (row.pue, row.intensity_kg_per_kwh, row.intensity_source) == (1.3, 0.05, "a river")
    assert row.details["gpu_tdp_w"] == 700
    # Nobody metered it: the bound is made of its own factors too.
    assert row.method == "bound"
    watts = 50 * (os.cpu_count() or 1)
    assert row.kwh_cpu == pytest.approx(watts * row.wall_s / 3.6e6, rel=1e-4)


@pytest.mark.usefixtures("no_meter")
def test_a_later_flow_does_not_charge_what_ended_with_its_factors(place: Workplace) -> None:
    with recorded("pipeline", PipelineForm()) as run:
        stage_of(run)
    (before,) = rows(place, "words")
    with recorded("evaluation", Form()):
        pass
    (after,) = rows(place, "words")
    assert after.details == before.details
