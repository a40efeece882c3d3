"""What each entry of the registry's outbox becomes in MLflow.

Every function is idempotent: an MLflow run is found by its tag ``arriero.run_id`` before it is
made, and of metrics only the points are sent that are not there.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import runs
from registry.artifacts import ArtifactRef, Kind, Manifest
from registry.schema import Run
from tasks.locks import exclusive
from tasks.projected_tables import log_evaluation_table, log_funnel_table
from tasks.runner import Workplace

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "arriero"
RUN_TAG = "arriero.run_id"
LARGEST_UPLOAD = 2 * 1024 * 1024  # bytes; larger files are referenced by URI and sha256
STATUS = {
    "completed": "FINISHED",
    "cached": "FINISHED",
    "failed": "FAILED",
    "lost": "FAILED",
    "cancelled": "KILLED",
    "preempted": "KILLED",
}


def project(client: MlflowClient, place: Workplace, topic: str, payload: Mapping[str, Any]) -> None:
    """Deliver one outbox entry.

    Raises:
        ValueError: an unknown topic (a newer Arriero wrote it).
    """
    if topic == "stage":
        project_stage(client, place, payload)
    elif topic == "flow":
        project_flow(client, place, payload)
    elif topic == "report":
        project_report(client, place, payload)
    elif topic == "model-version":
        from tasks.promoted import project_version

        project_version(client, place, payload)
    elif topic == "champion":
        from tasks.promoted import project_champion

        project_champion(client, place, payload)
    else:
        raise ValueError(f"outbox topic {topic!r} is unknown here; update arriero")


def experiment_id(client: MlflowClient) -> str:
    """The one experiment of an installation, made on first use."""
    found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id if found else client.create_experiment(EXPERIMENT))


def find_run(client: MlflowClient, record_id: str) -> str | None:
    """MLflow run that shows a recorded run."""
    found = client.search_runs(
        [experiment_id(client)], filter_string=f"tags.`{RUN_TAG}` = '{record_id}'", max_results=1
    )
    return str(found[0].info.run_id) if found else None


def ensure_flow_run(client: MlflowClient, place: Workplace, record: Run) -> str:
    """The parent run of a flow run."""
    name = f"{record.flow} {record.started_at:%Y-%m-%d %H:%M:%S}"
    with _one_at_a_time(place):
        known = runs.get_run(place.registry, record.id).mlflow_run_id
        if known is not None:
            return known
        # Linked last: a kill in between finds the run by its tag and completes it.
        run_id = find_run(client, record.id) or _create(client, record, name, _tags(record))
        client.log_dict(run_id, dict(record.parameters), "configuration.json")
        runs.link_run(place.registry, record.id, mlflow_run_id=run_id)
        return run_id


def ensure_stage_run(client: MlflowClient, place: Workplace, record_id: str) -> str:
    """The child run of a stage attempt."""
    from tasks.tracking import root_of

    record = runs.get_run(place.registry, record_id)
    if record.mlflow_run_id is not None:
        return record.mlflow_run_id
    parent = ensure_flow_run(client, place, root_of(place.registry, record_id))
    suffix = f" (attempt {record.attempt})" if record.attempt > 1 else ""
    name = f"{record.stage}{suffix}"
    tags = {**_tags(record), "mlflow.parentRunId": parent}
    with _one_at_a_time(place):
        known = runs.get_run(place.registry, record_id).mlflow_run_id
        if known is not None:
            return known
        run_id = find_run(client, record_id) or _create(client, record, name, tags)
        log_parameters(client, run_id, record.parameters)
        runs.link_run(place.registry, record_id, mlflow_run_id=run_id)
        return run_id


def _one_at_a_time(place: Workplace) -> AbstractContextManager[None]:
    """MLflow has no unique tags: finding and making a run must not interleave with another's."""
    return exclusive(
        place.settings.home / "mlflow-runs.lock",
        what="MLflow run",
        log=logging.getLogger("arriero.tracking"),
        timeout_s=60.0,
    )


def _ended(record: Run) -> str:
    if record.status not in STATUS:
        raise ValueError(f"run {record.id} has not ended yet")
    return STATUS[record.status]


def _create(client: MlflowClient, record: Run, name: str, tags: dict[str, str]) -> str:
    made = client.create_run(
        experiment_id(client),
        start_time=_milliseconds(record.started_at),
        run_name=name,
        tags=tags,
    )
    return str(made.info.run_id)


def project_stage(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    """A stage attempt: parameters, counts, metrics, datasets, small files, references."""
    record = runs.get_run(place.registry, payload["run_id"])
    run_id = ensure_stage_run(client, place, record.id)
    if payload.get("artifact"):
        ref = ArtifactRef.model_validate(payload["artifact"])
        found = place.store.lookup(ref.key)
        if found is not None:
            _project_artifact(client, place, run_id, found)
    if record.error:
        client.set_tag(run_id, "arriero.error", record.error[:4000])
    client.set_terminated(run_id, _ended(record), _milliseconds(record.ended_at))


def project_flow(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    """A finished flow run; subflows are shown by their stages alone."""
    record = runs.get_run(place.registry, payload["run_id"])
    if record.parent_id is not None:
        return
    run_id = ensure_flow_run(client, place, record)
    if record.error:
        client.set_tag(run_id, "arriero.error", record.error[:4000])
    client.set_terminated(run_id, _ended(record), _milliseconds(record.ended_at))


def project_report(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    """Run card, emissions report and totals of a flow run.

    payload: run_id, ``files`` {name in MLflow: path under the home}, ``metrics`` {name: value}.
    """
    record = runs.get_run(place.registry, payload["run_id"])
    run_id = ensure_flow_run(client, place, record)
    for name, relative in payload.get("files", {}).items():
        path = place.settings.home / relative
        folder = str(Path(name).parent)
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / Path(name).name
            copy.write_bytes(path.read_bytes())
            client.log_artifact(run_id, str(copy), None if folder == "." else folder)
    log_numbers(client, run_id, payload.get("metrics", {}))


def log_parameters(client: MlflowClient, run_id: str, parameters: Mapping[str, Any]) -> None:
    """Flattened parameters; values beyond MLflow's 6,000 characters are cut and say so."""
    from mlflow.entities import Param

    flat = dict(_flatten(parameters))
    params = [
        Param(name[:250], value if len(value) <= 5900 else value[:5900] + " [cut]")
        for name, value in flat.items()
    ]
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])


def log_numbers(client: MlflowClient, run_id: str, values: Mapping[str, Any]) -> None:
    """Single numbers as metrics at step 0."""
    from mlflow.entities import Metric

    metrics = [
        Metric(_metric_name(name), float(value), 0, 0) for name, value in _flatten_numbers(values)
    ]
    for start in range(0, len(metrics), 900):
        client.log_batch(run_id, metrics=metrics[start : start + 900])


def _project_artifact(
    client: MlflowClient, place: Workplace, run_id: str, ref: ArtifactRef
) -> None:
    manifest = place.store.manifest(ref)
    folder = place.store.path(ref)
    tags = {
        "arriero.kind": ref.kind.value,
        "arriero.key": ref.key,
        "arriero.digest": ref.digest,
        "arriero.uri": ref.uri,
        "arriero.sample": str(manifest.sample).lower(),
        "arriero.reproducibility": manifest.reproducibility,
    }
    for name, value in tags.items():
        client.set_tag(run_id, name, value)
    log_numbers(client, run_id, {"counts": manifest.counts})
    client.log_artifact(run_id, str(folder / "manifest.json"))
    for name in small_files(manifest):
        parent = str(Path(name).parent)
        client.log_artifact(run_id, str(folder / name), None if parent == "." else parent)
    if ref.kind in (Kind.RAW, Kind.DOCUMENTS, Kind.TOKENS, Kind.INSTRUCTIONS):
        _log_dataset(client, run_id, ref, manifest)
    if ref.kind == Kind.CHECKPOINT:
        _log_external_model(client, run_id, ref, manifest)
    if ref.kind == Kind.EVALUATION:
        rows = log_evaluation_table(client, run_id, folder)
        log_numbers(client, run_id, rows)
    if ref.kind == Kind.DOCUMENTS:
        log_funnel_table(client, run_id, folder)
    if "logs/metrics.jsonl" in manifest.log_files:
        complete_metrics(client, run_id, folder / "logs" / "metrics.jsonl")


def small_files(manifest: Manifest) -> list[str]:
    """Files to show in MLflow: text and models that are small; the rest is referenced."""
    shown = {".json", ".jsonl", ".html", ".md", ".model", ".csv"}
    entries = {**manifest.files, **manifest.log_files}
    return sorted(
        name
        for name, entry in entries.items()
        if entry.size <= LARGEST_UPLOAD and Path(name).suffix in shown
    )


def complete_metrics(client: MlflowClient, run_id: str, path: Path) -> None:
    """Send the points of ``metrics.jsonl`` that the run lacks; a point is a metric at a step.

    A step's validation is a line of its own, and a live curve may have gaps.
    """
    from mlflow.entities import Metric

    from tasks.tracking import read_metric_lines

    points = [
        Metric(_metric_name(name), float(value), int(row.get("time", 0) * 1000), int(row["step"]))
        for row in read_metric_lines(path.read_text())
        if "step" in row
        for name, value in row.items()
        if name not in ("step", "time")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    ]
    there = {
        (name, metric.step)
        for name in sorted({point.key for point in points})
        for metric in client.get_metric_history(run_id, name)
    }
    batch = [point for point in points if (point.key, point.step) not in there]
    for start in range(0, len(batch), 900):
        client.log_batch(run_id, metrics=batch[start : start + 900])


def _log_dataset(client: MlflowClient, run_id: str, ref: ArtifactRef, manifest: Manifest) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=ref.stage,
        digest=ref.digest[:36],
        source_type="arriero-store",
        source=json.dumps({"uri": ref.uri, "digest": ref.digest, "inputs": manifest.inputs}),
        profile=json.dumps(manifest.counts, default=str)[:60000],
    )
    tags = [InputTag("mlflow.data.context", ref.kind.value)]
    client.log_inputs(run_id, [DatasetInput(dataset, tags)])


def _log_external_model(
    client: MlflowClient, run_id: str, ref: ArtifactRef, manifest: Manifest
) -> None:
    import mlflow

    name = f"{ref.stage}-{ref.digest[:12]}"
    if client.search_logged_models(
        [experiment_id(client)], filter_string=f"name = '{name}'", max_results=1
    ):
        return
    mlflow.set_tracking_uri(client.tracking_uri)
    weights = manifest.files.get("model.safetensors")
    mlflow.create_external_model(
        name=name,
        source_run_id=run_id,
        experiment_id=experiment_id(client),
        model_type="checkpoint",
        tags={
            "arriero.uri": ref.uri,
            "arriero.digest": ref.digest,
            "arriero.sha256": weights.sha256 if weights else "",
        },
    )


def _tags(record: Run) -> dict[str, str]:
    tags = {
        RUN_TAG: record.id,
        "arriero.flow": record.flow,
        "mlflow.user": record.user,
        "mlflow.source.name": f"flows.{record.flow}",
    }
    optional = {
        "arriero.stage": record.stage,
        "mlflow.source.git.commit": record.git_commit,
        "prefect.flow_run_id": record.prefect_flow_run_id,
        "prefect.task_run_id": record.prefect_task_run_id,
    }
    return {**tags, **{k: v for k, v in optional.items() if v is not None}}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value if isinstance(value, str) else json.dumps(value, default=str)


def _flatten_numbers(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flatten_numbers(value, f"{path}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path, float(value)


def _metric_name(name: str) -> str:
    # MLflow allows letters, digits, and _-./ : and space in metric names.
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)[:250]


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
