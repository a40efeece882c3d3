"""The task of this package: the loss law of a ladder of runs, and what a loss costs at least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from registry.artifacts import ArtifactRef, Kind
from tasks.emissions.parameters import EmissionsParameters
from tasks.runner import RunContext, Stage, run_stage
from tasks.scaling.parameters import ScalingParameters

SCALING = Stage(name="scaling", version=1, kind=Kind.REPORT, libraries=("numpy",))


@task(name="scaling", task_run_name="scaling", cache_policy=NO_CACHE, persist_result=True)
def fit_ladder(
    parameters: ScalingParameters,
    emissions: EmissionsParameters,
    checkpoints: Mapping[str, ArtifactRef],
    run: RunContext,
) -> Any:
    """Fit the law to pretrained checkpoints (by the name of their run); returns the report.

    Energy and carbon are figures of the report, so their factors are part of its recipe.
    """
    from tasks.scaling.build import build_report

    return run_stage(
        SCALING,
        parameters,
        checkpoints,
        run,
        lambda inputs, context: build_report(parameters, emissions, inputs, context),
        extra_recipe={"emissions": emissions.factors()},
    )
