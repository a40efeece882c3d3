"""The paper's benchmarks on a model; a result that is there already is not computed again."""

from __future__ import annotations

import json

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.exceptions import CancelledRun
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from flows.data import DataFolder, folder_for, take_data
from flows.references import find_artifact
from flows.session import recorded
from registry import evaluations, runs
from registry import promotion as registry_promotion
from registry.artifacts import ArtifactRef, Kind
from registry.contamination import contamination, share_of, shown
from registry.schema import Evaluation
from tasks.evaluation.parameters import EvaluationParameters
from tasks.evaluation.stage import evaluate_model, fingerprint_bench
from tasks.runner import RunContext, Workplace, open_workplace, settled

# Dumps without benchmarks give rows ``not run``; the pipeline evaluates on the folder it was given.
FOLDERS = ("bench", "corpus")


class EvaluationFlowParameters(BaseModel):
    """The form of the ``evaluation`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Evaluation run")

    model: str = Field(
        "champion",
        title="Model",
        description="`champion`, `latest`, or the digest of a model artifact (its start will do).",
    )
    data: str | None = Field(
        None,
        title="Data folder",
        description="Folder with bench/. Empty: ARRIERO_DATA, else the model's own (of its last"
        " evaluation, or that it was made from), the sample for a model of the sample.",
    )
    same_as_last: bool = Field(
        False,
        title="Same as last time",
        description="Take benchmarks, limits and data folder (before ARRIERO_DATA) of the model's"
        " last evaluation where there is one; what did not change is then found, not computed.",
    )
    evaluation: EvaluationParameters = Field(
        default_factory=EvaluationParameters,
        title="Evaluation",
        description="Benchmarks and limits.",
    )


class NightlyParameters(BaseModel):
    """The form of the ``nightly-evaluation`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Nightly evaluation")

    data: str | None = Field(
        None,
        title="Data folder",
        description="Folder with bench/. Empty: ARRIERO_DATA, else each model's own (of its last"
        " evaluation, or that it was made from), the sample for a model of the sample.",
    )
    evaluation: EvaluationParameters = Field(
        default_factory=EvaluationParameters,
        title="Evaluation",
        description="Benchmarks and limits.",
    )


@flow(name="evaluation")
def evaluation(parameters: EvaluationFlowParameters) -> ArtifactRef:
    """Evaluate one model; rows go to the registry, the table to the flow run."""
    with recorded("evaluation", parameters) as run:
        place = open_workplace()
        model = find_artifact(
            place, parameters.model.removeprefix("arriero.model."), Kind.MODEL, "export"
        )
        folder = folder_for(place, model, parameters.data, as_last=parameters.same_as_last)
        data = take_data(place, run, folder, model, any_of=FOLDERS)
        chosen = parameters.evaluation
        if parameters.same_as_last:
            chosen = last_parameters(place, model) or chosen
        result, _ = evaluate(place, model, data, chosen, run)
        return result


@flow(name="nightly-evaluation")
def nightly_evaluation(parameters: NightlyParameters) -> list[dict[str, str]]:
    """Champions, then models and checkpoints that have no figure yet.

    The automation evaluates each newly registered model, but an event can be lost: this is the
    reconciler beside it. A model that fails gets a row that says so and the others go on; the flow
    then fails at its end (RuntimeError names them).
    """
    with recorded("nightly-evaluation", parameters) as run:
        place = open_workplace()
        log = get_run_logger()
        rows: list[dict[str, str]] = []
        failed: list[str] = []
        for reason, model in models_to_check(place):
            try:
                folder = folder_for(place, model, parameters.data)
                data = take_data(place, run, folder, model, any_of=FOLDERS)
                _, cached = evaluate(place, model, data, parameters.evaluation, run)
                outcome = "checked, cached" if cached else "evaluated"
            except CancelledRun:
                raise
            except Exception as error:  # whatever one model has, the night belongs to all
                outcome = f"failed: {type(error).__name__}: {error}"
                failed.append(f"{model.digest[:12]} ({type(error).__name__}: {error})")
                log.exception("%s %s failed", reason, model.digest[:12])
            rows.append({"model": model.digest[:12], "why": reason, "outcome": outcome})
            log.info("%s %s: %s", reason, model.digest[:12], outcome)
        create_table_artifact(rows, key="nightly-evaluation", description="What the night did")
        if failed:
            raise RuntimeError(
                f"{len(failed)} of {len(rows)} were not evaluated: {'; '.join(failed)}"
            )
        return rows


def last_parameters(place: Workplace, model: ArtifactRef) -> EvaluationParameters | None:
    """Parameters of the newest evaluation of the model's content; None when there is none."""
    query = (
        select(Evaluation.artifact_key)
        .where(Evaluation.model_digest == model.digest)
        .order_by(Evaluation.id.desc())
    )
    with place.registry.reading() as session:
        key = session.scalars(query).first()
    found = place.store.lookup(key) if key else None
    if found is None:
        return None
    stored = place.store.manifest(found).parameters
    return EvaluationParameters.model_validate(
        {name: stored[name] for name in EvaluationParameters.model_fields if name in stored}
    )


def models_to_check(place: Workplace) -> list[tuple[str, ArtifactRef]]:
    """Champions first, then models without a figure, then checkpoints without figure or export."""
    with place.registry.reading() as session:
        chosen = [("champion", ref) for ref in registry_promotion.champions(session)]
        known = {ref.key for _, ref in chosen}
        chosen += [
            ("no evaluation yet", ref)
            for ref in runs.models_without_evaluation(session)
            if ref.key not in known
        ]
        chosen += [
            ("checkpoint without evaluation", ref)
            for ref in evaluations.checkpoints_without_evaluation(session)
        ]
        return chosen


def evaluate(
    place: Workplace,
    model: ArtifactRef,
    data: DataFolder,
    parameters: EvaluationParameters,
    run: RunContext,
) -> tuple[ArtifactRef, bool]:
    """Evaluate ``model``; returns the evaluation and whether it was there already."""
    bench = settled(fingerprint_bench(parameters, data.root, data.sample, run))
    state = evaluate_model(parameters, model, bench, data.root, run, return_state=True)
    result: ArtifactRef = state.result()
    rows = json.loads((place.store.path(result) / "results.json").read_text())
    with place.registry.session() as session:
        runs.record_evaluations(session, artifact=result, model=model, rows=rows)
    checked = contamination(place.registry, model.key)
    create_table_artifact(
        [
            {
                "benchmark": row["benchmark"],
                "contaminated items": shown(
                    share_of(checked, row["benchmark"], row.get("data_sha256"))
                ),
                "metric": row["metric"],
                "value": row["value"] if row["status"] == "ok" else f"not run: {row['reason']}",
                "stderr": row["stderr"],
                "n": row["n"],
                "shots": row["shots"],
                "data": "sample" if row["sample"] else "benchmark",
            }
            for row in rows
        ],
        key="evaluation",
        description=f"Model {model.digest[:12]}",
    )
    return result, state.name == "Cached"
