"""The promoted model in MLflow: a models-from-code pyfunc, its version, its alias."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.artifacts import ArtifactRef
from tasks.projection import RUN_TAG, ensure_flow_run, find_run
from tasks.runner import Workplace

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST_TAG = "arriero.digest"


def project_promotion(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    """Register the model version of a verdict; an approved one carries the alias.

    payload: registry's promotion entry: run_id, name, version, artifact (ref), verdict, alias.
    """
    from registry import runs

    ref = ArtifactRef.model_validate(payload["artifact"])
    name = payload["name"]
    version = _find_version(client, name, ref.digest)
    if version is None:
        record = runs.get_run(place.registry, payload["run_id"])
        run_id = find_run(client, record.id) or ensure_flow_run(
            client, place, _root(place, record.id)
        )
        version = _register(client, place, run_id, name, ref)
    client.set_model_version_tag(name, version, "arriero.verdict", payload["verdict"])
    client.set_model_version_tag(
        name, version, "arriero.registry_version", str(payload["version"])
    )
    if payload["verdict"] == "approved":
        client.set_registered_model_alias(name, payload.get("alias", "champion"), version)


def _root(place: Workplace, record_id: str) -> Any:
    from tasks.tracking import root_of

    return root_of(place.registry, record_id)


def _find_version(client: MlflowClient, name: str, digest: str) -> str | None:
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(DIGEST_TAG) == digest:
            return str(version.version)
    return None


def _register(
    client: MlflowClient, place: Workplace, run_id: str, name: str, ref: ArtifactRef
) -> str:
    import mlflow
    from mlflow.models import infer_signature

    # Not `from tasks import served_model`: importing that module registers it with MLflow.
    parameters = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    manifest = place.store.manifest(ref)
    weights = {
        file: entry.sha256 for file, entry in manifest.files.items() if "safetensors" in file
    }
    mlflow.set_tracking_uri(client.tracking_uri)
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name=name,
            python_model=str(Path(__file__).with_name("served_model.py")),
            model_config={"key": ref.key, "digest": ref.digest, "sha256": weights},
            signature=infer_signature(
                ["Once upon a time"], ["there was a llama."], params=parameters
            ),
            pip_requirements=["arriero"],
            metadata={DIGEST_TAG: ref.digest, RUN_TAG: run_id},
        )
    registered = mlflow.register_model(
        logged.model_uri, name, tags={DIGEST_TAG: ref.digest, "arriero.uri": ref.uri}
    )
    return str(registered.version)
