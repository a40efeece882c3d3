"""Registered models in MLflow: a models-from-code pyfunc per version, and the champion alias."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import runs
from tasks.projection import ensure_flow_run
from tasks.runner import Workplace

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST_TAG = "arriero.digest"
# What `predict` of tasks/served_model.py takes. Not imported from there: importing that module
# declares its model to MLflow.
PREDICT_PARAMETERS = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "seed": 0}


def project_version(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    """Register a model version: name, version, key, digest, uri, run_id, sample."""
    if _find_version(client, payload["name"], payload["digest"]) is None:
        _register(client, place, payload)


def project_champion(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    """Point the alias at the version that holds the digest.

    Raises:
        ValueError: the version is not in MLflow yet; the outbox tries again after it.
    """
    version = _find_version(client, payload["name"], payload["digest"])
    if version is None:
        raise ValueError(f"{payload['name']} {payload['digest'][:12]} is not registered yet")
    client.set_registered_model_alias(payload["name"], payload["alias"], version)
    client.set_model_version_tag(payload["name"], version, "arriero.verdict", "approved")


def _find_version(client: MlflowClient, name: str, digest: str) -> str | None:
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(DIGEST_TAG) == digest:
            return str(version.version)
    return None


def _register(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    import mlflow
    from mlflow.models import infer_signature

    from tasks.tracking import root_of

    ref = place.store.lookup(payload["key"])
    if ref is None:
        raise ValueError(f"model {payload['digest'][:12]} is no longer in the store")
    manifest = place.store.manifest(ref)
    weights = {
        file: entry.sha256 for file, entry in manifest.files.items() if "safetensors" in file
    }
    record = runs.get_run(place.registry, payload["run_id"])
    parent = ensure_flow_run(client, place, root_of(place.registry, record.id))
    run_id = record.mlflow_run_id or parent
    mlflow.set_tracking_uri(client.tracking_uri)
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name=payload["name"],
            python_model=str(Path(__file__).with_name("served_model.py")),
            model_config={"key": ref.key, "digest": ref.digest, "sha256": weights},
            signature=infer_signature(
                ["Once upon a time"], ["there was a llama."], params=PREDICT_PARAMETERS
            ),
            pip_requirements=["arriero"],
            metadata={DIGEST_TAG: ref.digest},
        )
    mlflow.register_model(
        logged.model_uri,
        payload["name"],
        tags={
            DIGEST_TAG: ref.digest,
            "arriero.uri": ref.uri,
            "arriero.registry_version": str(payload["version"]),
            "arriero.sample": str(payload["sample"]).lower(),
        },
    )
