"""The tasks of this package: pretrain, finetune, export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import State

from registry.artifacts import ArtifactRef, Kind
from tasks.context import StageContext, StageResult
from tasks.runner import CorruptInput, Preempted, RunContext, Stage, run_stage
from tasks.training.engine.config import ConfigError
from tasks.training.parameters import (
    ExportParameters,
    FinetuningParameters,
    PretrainingParameters,
)

LIBRARIES = ("torch", "accelerate", "safetensors")
PRETRAINING = Stage(name="pretraining", version=2, kind=Kind.CHECKPOINT, libraries=LIBRARIES)
FINETUNING = Stage(name="finetuning", version=2, kind=Kind.CHECKPOINT, libraries=LIBRARIES)
EXPORT = Stage(name="export", version=1, kind=Kind.MODEL, libraries=("torch", "safetensors"))

RETRIES = 2
RETRY_DELAY_SECONDS = [10.0, 60.0]

Build = Callable[[dict[str, Path], StageContext], StageResult]


def worth_retrying(task: Any, task_run: Any, state: State) -> bool:
    """False for what would fail again in the same way: configuration, divergence, bad inputs."""
    from tasks.training.launch import TrainerDiverged

    return not isinstance(state.data, ConfigError | TrainerDiverged | CorruptInput)


def _preemptible(build: Build) -> Build:
    """Report a preempted trainer in the words of the runner, so that the attempt says so."""

    def run(inputs: dict[str, Path], context: StageContext) -> StageResult:
        from tasks.training.launch import TrainerPreempted

        try:
            return build(inputs, context)
        except TrainerPreempted as error:
            raise Preempted(str(error)) from error

    return run


@task(
    name="pretraining",
    task_run_name="pretraining",
    cache_policy=NO_CACHE,
    persist_result=True,
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY_SECONDS,
    retry_condition_fn=worth_retrying,
)
def pretrain(
    parameters: PretrainingParameters, tokens: ArtifactRef, tokenizer: ArtifactRef, run: RunContext
) -> Any:
    """Train a base model; a retry continues from its checkpoints. Returns its ``ArtifactRef``."""
    from tasks.training.build import build_pretraining

    return run_stage(
        PRETRAINING,
        parameters,
        {"tokens": tokens, "tokenizer": tokenizer},
        run,
        _preemptible(
            lambda inputs, context: build_pretraining(
                parameters, inputs["tokens"], inputs["tokenizer"], context
            )
        ),
    )


@task(
    name="finetuning",
    task_run_name="finetuning",
    cache_policy=NO_CACHE,
    persist_result=True,
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY_SECONDS,
    retry_condition_fn=worth_retrying,
)
def finetune(
    parameters: FinetuningParameters,
    checkpoint: ArtifactRef,
    instructions: ArtifactRef,
    run: RunContext,
) -> Any:
    """Finetune a checkpoint on packed instructions; returns the new ``ArtifactRef``."""
    from tasks.training.build import build_finetuning

    return run_stage(
        FINETUNING,
        parameters,
        {"checkpoint": checkpoint, "instructions": instructions},
        run,
        _preemptible(
            lambda inputs, context: build_finetuning(
                parameters, inputs["checkpoint"], inputs["instructions"], context
            )
        ),
    )


@task(name="export", task_run_name="export", cache_policy=NO_CACHE, persist_result=True)
def export_model(checkpoint: ArtifactRef, run: RunContext) -> Any:
    """The Hugging Face form of a checkpoint; returns its ``ArtifactRef``."""
    from tasks.training.export import build_export

    parameters = ExportParameters()
    return run_stage(
        EXPORT,
        parameters,
        {"checkpoint": checkpoint},
        run,
        lambda inputs, context: build_export(parameters, inputs["checkpoint"], context),
    )
