"""Registered models in MLflow: a models-from-code pyfunc per version, and the champion alias.

The registry decides: messages tell MLflow of a change soon, `reconcile` mends what they missed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.versions import RegisteredVersion, alias_targets
from tasks.projection import experiment_id, find_run
from tasks.runner import Workplace

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST_TAG = "arriero.digest"
# What `predict` of tasks/served_model.py takes. Not imported from there: importing that module
# declares its model to MLflow.
PREDICT_PARAMETERS = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "seed": 0}
log = logging.getLogger("arriero.tracking")


def project_version(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    """Register a model version: what `registry.versions.RegisteredVersion` says of it."""
    version = RegisteredVersion.model_validate(payload)
    if _find_version(client, version.name, version.digest) is None:
        _register(client, place, version)


def project_champion(client: MlflowClient, place: Workplace, payload: Mapping[str, Any]) -> None:
    """Mark a version as approved, and point the aliases of its name where the registry's point.

    Not where the message says: it may be delivered after its successor.

    Raises:
        ValueError: the version is not in MLflow yet; the outbox tries again after it.
    """
    name = payload["name"]
    approved = _registered(client, name, payload["digest"])
    client.set_model_version_tag(name, approved, "arriero.verdict", "approved")
    for alias, target in alias_targets(place.registry):
        version = _find_version(client, name, target.digest) if target.name == name else None
        if version is not None:  # else a successor, whose own messages follow
            client.set_registered_model_alias(name, alias, version)


def reconcile(client: MlflowClient, place: Workplace) -> int:
    """Point MLflow's aliases where the registry's point; returns how many were wrong.

    A message can be lost with a restored database, an alias be moved by hand. A version that MLflow
    lacks is registered again; aliases that the registry does not know are left alone.
    """
    wrong = 0
    for alias, target in alias_targets(place.registry):
        version = _find_version(client, target.name, target.digest)
        if version is not None and _aliases(client, target.name).get(alias) == version:
            continue
        if version is None:
            try:
                _register(client, place, target)
            except ValueError as problem:  # its content is gone; the next alias may still be mended
                log.warning("MLflow has no %s@%s: %s", target.name, alias, problem)
                continue
            version = _registered(client, target.name, target.digest)
        client.set_registered_model_alias(target.name, alias, version)
        log.warning("MLflow's %s@%s is version %s again", target.name, alias, version)
        wrong += 1
    return wrong


def _registered(client: MlflowClient, name: str, digest: str) -> str:
    version = _find_version(client, name, digest)
    if version is None:
        raise ValueError(f"{name} {digest[:12]} is not registered yet")
    return version


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    for model in client.search_registered_models(f"name = '{name}'"):
        return {alias: str(version) for alias, version in model.aliases.items()}
    return {}


def _find_version(client: MlflowClient, name: str, digest: str) -> str | None:
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(DIGEST_TAG) == digest:
            return str(version.version)
    return None


def _register(client: MlflowClient, place: Workplace, version: RegisteredVersion) -> None:
    import mlflow
    from mlflow.models import infer_signature

    ref = place.store.lookup(version.key)
    if ref is None or ref.digest != version.digest:
        raise ValueError(f"model {version.digest[:12]} is no longer in the store")
    manifest = place.store.manifest(ref)
    weights = {
        file: entry.sha256 for file, entry in manifest.files.items() if "safetensors" in file
    }
    mlflow.set_tracking_uri(client.tracking_uri)
    with mlflow.start_run(run_id=_run_of(client, version)):
        logged = mlflow.pyfunc.log_model(
            name=version.name,
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
        version.name,
        tags={
            DIGEST_TAG: ref.digest,
            "arriero.uri": ref.uri,
            "arriero.registry_version": str(version.version),
            "arriero.sample": str(version.sample).lower(),
        },
    )


def _run_of(client: MlflowClient, version: RegisteredVersion) -> str:
    """The MLflow run that the version hangs on: that of the export; for a model that was adopted,
    or whose run MLflow lost, one that shows the same content, and one of its own without any."""
    shown = None if version.run_id is None else find_run(client, version.run_id)
    if shown is not None:
        return shown
    experiment = experiment_id(client)
    same = client.search_runs(
        [experiment], filter_string=f"tags.`{DIGEST_TAG}` = '{version.digest}'", max_results=1
    )
    if same:
        return str(same[0].info.run_id)
    made = client.create_run(
        experiment,
        run_name=f"{version.name} version {version.version}",
        tags={DIGEST_TAG: version.digest},
    )
    return str(made.info.run_id)
