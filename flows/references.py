"""How a form names an artifact: ``latest``, ``champion``, a digest or the start of one."""

from __future__ import annotations

from registry.artifacts import ArtifactRef, Kind
from registry.lineage import resolve
from tasks.runner import Workplace


def find_artifact(place: Workplace, reference: str, kind: Kind, stage: str | None) -> ArtifactRef:
    """The artifact a user means.

    Raises:
        ValueError: none or several match; says what was looked for and what exists.
    """
    return resolve(place.registry, reference, kind=kind, stage=stage)
