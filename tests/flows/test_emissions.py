"""Energy in the flows: whose factors count, when the ledger is settled, what a budget refuses."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from flows import promotion
from flows.budget import require_budget
from flows.parameters import PipelineConfig, PipelineParameters, resolve
from flows.pretraining import model_size
from flows.session import recorded
from flows.tokenizer import Tokenized
from model.presets import preset
from registry import runs
from registry.artifacts import ArtifactRef, Kind
from registry.emissions import sum_up
from registry.gates import GatePolicy
from registry.promotion import list_promotions
from registry.schema import Emission
from tasks.context import StageContext, StageResult
from tasks.emissions import marks, meter
from tasks.emissions.forecast import BudgetExceeded
from tasks.emissions.parameters import EmissionsParameters
from tasks.runner import RunContext, Stage, Workplace, run_stage, settled
from tasks.training import build
from tasks.training.stage import pretrain

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


def nothing() -> None:
    """What happens in the middle of most stages."""


def another_flow() -> None:
    """A flow that begins and ends."""

    def flow() -> None:
        with recorded("nightly-evaluation", Form()):
            pass

    Context().run(flow)


def stage_of(
    run: RunContext,
    name: str = "words",
    kind: Kind = Kind.DOCUMENTS,
    meanwhile: Callable[[], None] = nothing,
) -> ArtifactRef:
    """One attempt at an artifact."""

    def write(inputs: dict[str, Path], context: StageContext) -> StageResult:
        (context.out / "words.txt").write_text(name, encoding="utf-8")
        meanwhile()
        return StageResult()

    stage = Stage(name=name, version=1, kind=kind)
    made: ArtifactRef = settled(run_stage(stage, Form(text=name), {}, run, write))
    return made


def killed_attempt(place: Workplace, run: RunContext, name: str, key: str | None = None) -> None:
    """An attempt whose process was killed: it has a begin, and nobody wrote its end."""
    row = runs.start_run(
        place.registry, flow=run.flow, stage=name, recipe=key, parent_id=run.run_id
    )
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        marks.begin(
            place.settings.home,
            entry_id=row,
            run_id=row,
            stage=name,
            attempt=1,
            pid=process.pid,
            parameters=run.emissions,
        )
        time.sleep(0.05)
        process.kill()


def rows(place: Workplace, stage: str | None = None) -> list[Emission]:
    with place.registry.reading() as session:
        found = session.scalars(select(Emission)).all()
    return [row for row in found if stage in (None, row.stage)]


@pytest.mark.usefixtures("no_meter")
def test_a_flow_that_ends_first_does_not_charge_others_with_its_factors(place: Workplace) -> None:
    with recorded("pipeline", PipelineForm()), recorded("pretraining", Form()) as run:
        stage_of(run, meanwhile=another_flow)
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


@pytest.fixture
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The promotion flow's parts as plain functions."""
    monkeypatch.setattr(promotion, "decide", promotion.decide.fn)
    for name in ("create_table_artifact", "emit_event"):
        monkeypatch.setattr(promotion, name, lambda *arguments, **named: None)


def emissions_gate(place: Workplace) -> dict[str, Any]:
    (newest, _), *_ = list_promotions(place.registry)
    (gate,) = [gate for gate in newest.evidence["gates"] if gate["name"] == "emissions"]
    return dict(gate)


@pytest.mark.usefixtures("no_meter", "without_prefect")
def test_the_budget_gate_counts_the_attempts_of_the_run_that_asks(place: Workplace) -> None:
    policy = GatePolicy(budget_tco2eq=1)
    with recorded("pipeline", PipelineForm()) as run:
        model = stage_of(run, "export", Kind.MODEL)
        promotion.promotion.fn(promotion.PromotionParameters(model=model.digest, policy=policy))
        first = emissions_gate(place)
        assert first["outcome"] == "passed", first
        killed_attempt(place, run, "export", model.key)
        promotion.promotion.fn(promotion.PromotionParameters(model=model.digest, policy=policy))
        assert emissions_gate(place)["evidence"]["spent_tco2eq"] > first["evidence"]["spent_tco2eq"]


LOG = logging.getLogger("test")


def tokenized_by(run: RunContext) -> Tokenized:
    trained = stage_of(run, "tokenizer", Kind.TOKENIZER)
    return Tokenized(tokenizer=trained, tokens=stage_of(run, "tokens", Kind.TOKENS))


def config_with(*overrides: str) -> PipelineConfig:
    return resolve(PipelineParameters(overrides=list(overrides)))


@pytest.mark.usefixtures("no_meter")
def test_a_budget_counts_the_attempts_of_the_run_that_asks(place: Workplace) -> None:
    generous = config_with("emissions.budget=1000.0")
    with recorded("pipeline", PipelineForm()) as run:
        tokenized = tokenized_by(run)
        require_budget(place, generous, tokenized, LOG)
        before = sum_up(rows(place)).tco2eq
        assert before > 0
        config = config_with(f"emissions.budget={1.001 * before:.12e}")
        require_budget(place, config, tokenized, LOG)
        killed_attempt(place, run, "corpus")
        with pytest.raises(BudgetExceeded, match="is spent"):
            require_budget(place, config, tokenized, LOG)


@pytest.mark.usefixtures("no_meter")
def test_a_pretraining_that_is_stored_needs_no_budget(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*given: Any) -> StageResult:
        (given[-1].out / "weights").write_text("w", encoding="utf-8")
        return StageResult()

    monkeypatch.setattr(build, "build_pretraining", train)
    spent = config_with("emissions.budget=1.0e-15")
    with recorded("pipeline", PipelineForm()) as run:
        tokenized = tokenized_by(run)
        with pytest.raises(BudgetExceeded):
            require_budget(place, spent, tokenized, LOG)
        checkpoint = pretrain.fn(spent.pretraining, tokenized.tokens, tokenized.tokenizer, run)
        require_budget(place, spent, tokenized, LOG)
        # Damaged, it is trained anew; another recipe is as well.
        with pytest.raises(BudgetExceeded):
            other = config_with("emissions.budget=1.0e-15", "pretraining.seed=7")
            require_budget(place, other, tokenized, LOG)
        (place.store.path(checkpoint) / "weights").write_text("v", encoding="utf-8")
        with pytest.raises(BudgetExceeded):
            require_budget(place, spent, tokenized, LOG)


@pytest.mark.usefixtures("no_meter")
def test_the_forecast_is_of_the_models_own_shape(place: Workplace) -> None:
    """13B dimensions under the default preset, nano: some 1.1 million times its FLOPs."""
    gpu = ["pretraining.device=cuda", "pretraining.steps=1000000", "emissions.budget=0.1"]
    large = preset("13B").model_dump_json()
    with recorded("pipeline", PipelineForm()) as run:
        tokenized = tokenized_by(run)
        require_budget(place, config_with(*gpu), tokenized, LOG)
        own = config_with(*gpu, f"pretraining.shape={large}")
        assert model_size(own.pretraining) == "own shape"
        with pytest.raises(BudgetExceeded, match="does not hold this run"):
            require_budget(place, own, tokenized, LOG)


@pytest.mark.faults
def test_a_meter_killed_in_a_long_stage_loses_little(place: Workplace) -> None:
    home = place.settings.home
    quick = PipelineForm(emissions=EmissionsParameters(measure_interval_s=0.2))

    def kill_it_and_train_on() -> None:
        killed = meter.read_info(home)
        assert killed is not None and killed.status == "metering"
        os.kill(killed.pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while (
            (now := meter.read_info(home)) is None
            or now.pid == killed.pid
            or (now.status != "metering")
        ):
            assert time.monotonic() < deadline, "nobody started it again"
            time.sleep(0.05)
        time.sleep(1)

    with recorded("pipeline", quick) as run:
        stage_of(run, meanwhile=kill_it_and_train_on)
        time.sleep(0.5)
    meter.stop_meter(home)
    (row,) = rows(place, "words")
    assert row.kwh_total > row.details["kwh_gap"] + row.details["kwh_bound"]
