"""Rows of artifacts: how a published directory enters the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.database import Registry
from registry.manifest import ArtifactRef, Manifest, ref_of
from registry.runs import add_event
from registry.schema import Artifact, ArtifactInput, Run

ADOPTED = "adopted"  # event: a directory without a row was registered


def check_references(
    registry: Registry, inputs: Mapping[str, ArtifactRef], run_id: str | None
) -> bool:
    """Whether any input is a sample; ``ValueError`` names an input or run that has no row."""
    with registry.reading() as session:
        if run_id is not None and session.get(Run, run_id) is None:
            raise ValueError(f"no run {run_id} in the registry; start_run must come first")
        keys = {ref.key for ref in inputs.values()}
        found = session.execute(
            select(Artifact.key, Artifact.sample).where(Artifact.key.in_(keys))
        ).all()
    known = {key for key, _ in found}
    for name, ref in inputs.items():
        if ref.key not in known:
            raise ValueError(f"input {name!r} ({ref.kind} {ref.key[:12]}) is not in the registry")
    return any(sample for _, sample in found)


def register(registry: Registry, manifest: Manifest, uri: Path, event: str | None) -> ArtifactRef:
    """Write the row of a directory that is in place; idempotent across processes."""
    try:
        return _register_once(registry, manifest, uri, event)
    except IntegrityError:
        # Another process inserted the same key between our read and our insert.
        return _register_once(registry, manifest, uri, event)


def mark_missing(registry: Registry, ref: ArtifactRef) -> None:
    """Record that the directory of a registered artifact is gone."""
    with registry.session() as session:
        row = session.get(Artifact, ref.key, with_for_update=True)
        if row is not None and row.state == "present":
            row.state = "missing"
            add_event(session, "artifact-missing", {"key": ref.key, "uri": ref.uri})


def _register_once(
    registry: Registry, manifest: Manifest, uri: Path, event: str | None
) -> ArtifactRef:
    with registry.session() as session:
        row = session.get(Artifact, manifest.key, with_for_update=True)
        if row is not None and row.state == "present" and row.digest == manifest.digest:
            return ref_of(row)
        if row is None:
            row = Artifact(key=manifest.key)
            session.add(row)
        elif row.digest != manifest.digest:
            payload = {"key": row.key, "stage": row.stage, "kept": manifest.digest}
            payload |= {"replaced": row.digest, "state": row.state}
            add_event(session, "digest-mismatch", payload, run_id=manifest.run_id)
        _fill(row, manifest, uri)
        if event == ADOPTED and session.get(Run, manifest.run_id or "") is None:
            row.run_id = None  # adopted into a registry that does not know the run
        session.flush()
        _replace_inputs(session, manifest)
        if event is not None:
            add_event(session, event, {"key": row.key, "stage": row.stage})
        return ref_of(row)


def _fill(row: Artifact, manifest: Manifest, uri: Path) -> None:
    row.digest = manifest.digest
    row.kind = manifest.kind.value
    row.stage = manifest.stage
    row.stage_version = manifest.stage_version
    row.uri = uri.as_posix()
    row.size = manifest.size
    row.manifest = manifest.model_dump(mode="json")
    row.sample = manifest.sample
    row.reproducibility = manifest.reproducibility
    row.state = "present"
    row.created_at = manifest.created_at
    row.run_id = manifest.run_id


def _replace_inputs(session: Session, manifest: Manifest) -> None:
    session.execute(delete(ArtifactInput).where(ArtifactInput.artifact_key == manifest.key))
    for name, digest in manifest.inputs.items():
        session.add(
            ArtifactInput(
                artifact_key=manifest.key,
                name=name,
                input_key=manifest.input_keys[name],
                input_digest=digest,
            )
        )
