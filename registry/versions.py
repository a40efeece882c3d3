"""Versions of models, and which of them an alias such as ``champion`` points at."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.database import Registry
from registry.manifest import ArtifactRef, ref_of
from registry.schema import Artifact, ModelAlias, ModelVersion

CHAMPION = "champion"
# Another content of the same recipe is another version.
OF_CONTENT = (ModelVersion.artifact_key == Artifact.key) & (ModelVersion.digest == Artifact.digest)
POINTED_AT = (ModelAlias.name == ModelVersion.name) & (ModelAlias.version == ModelVersion.version)


class RegisteredVersion(BaseModel):
    """A version as other systems are told of it. ``run_id``: None when no run made it here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    key: str
    digest: str
    uri: str
    run_id: str | None
    sample: bool


def champion(session: Session, name: str) -> ModelVersion | None:
    """The champion of a name."""
    return session.scalar(
        select(ModelVersion)
        .join(ModelAlias, POINTED_AT)
        .where(ModelAlias.name == name, ModelAlias.alias == CHAMPION)
    )


def champions(session: Session) -> list[ArtifactRef]:
    """The champion artifacts of all names, by name; one that was made anew is none any more."""
    rows = session.scalars(
        select(Artifact)
        .join(ModelVersion, OF_CONTENT)
        .join(ModelAlias, POINTED_AT)
        .where(ModelAlias.alias == CHAMPION)
        .order_by(ModelAlias.name)
    )
    return [ref_of(row) for row in rows]


def alias_targets(registry: Registry) -> list[tuple[str, RegisteredVersion]]:
    """Every alias with the version that it points at now, by name."""
    query = (
        select(ModelAlias.alias, ModelVersion, Artifact)
        .join(ModelVersion, POINTED_AT)
        .join(Artifact, Artifact.key == ModelVersion.artifact_key)
        .order_by(ModelAlias.name, ModelAlias.alias)
    )
    with registry.reading() as session:
        return [
            (alias, describe(version, artifact))
            for alias, version, artifact in session.execute(query)
        ]


def describe(version: ModelVersion, artifact: Artifact) -> RegisteredVersion:
    """A version with what its artifact says of it."""
    return RegisteredVersion(
        name=version.name,
        version=version.version,
        key=version.artifact_key,
        digest=version.digest,
        uri=artifact.uri,
        run_id=artifact.run_id,
        sample=artifact.sample,
    )
