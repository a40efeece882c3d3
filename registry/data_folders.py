"""Which data folder a flow read, so that a later flow on the same model reads it again.

A model is evaluated again by an automation, at night, from a form; without a folder of its own
that must not fall back to other data than the model's.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Select, select

from registry.database import Registry
from registry.lineage import ancestors
from registry.manifest import ArtifactRef
from registry.runs import record_event
from registry.schema import Evaluation, Event, Run

EVENT = "data-folder"


class DataFolderUsed(BaseModel):
    """A folder with ``corpus/``, ``bench/``, ``instruct/``.

    sample: made by the project. model: digest of the one model it was read for, else None.
    """

    model_config = ConfigDict(frozen=True)

    root: str
    sample: bool
    model: str | None = None


def record_data_folder(registry: Registry, run_id: str, folder: DataFolderUsed) -> None:
    """Record which folder a flow run reads."""
    record_event(registry, EVENT, folder.model_dump(mode="json"), run_id=run_id)


def evaluation_folder(
    registry: Registry, model: ArtifactRef, *, sample: bool
) -> DataFolderUsed | None:
    """The folder that the newest evaluation of a model's content read; None where none is known.

    sample: whether the model itself was made from the sample, which says nothing about another one.
    """
    evaluations = select(Evaluation.artifact_key).where(Evaluation.model_digest == model.digest)
    with registry.reading() as session:
        keys = list(session.scalars(evaluations))
    return next(iter(_folders(registry, keys, model, sample)), None)


def making_folders(registry: Registry, model: ArtifactRef, *, sample: bool) -> list[DataFolderUsed]:
    """Folders that a model was made from, newest first: of the corpus, of the instructions."""
    keys = [artifact.key for artifact in ancestors(registry, model.key)]
    return _folders(registry, keys, model, sample)


def _folders(
    registry: Registry, artifact_keys: list[str], model: ArtifactRef, sample: bool
) -> list[DataFolderUsed]:
    with registry.reading() as session:
        payloads = list(session.scalars(_events(artifact_keys))) if artifact_keys else []
    folders = dict.fromkeys(DataFolderUsed.model_validate(payload) for payload in payloads)
    return [
        folder
        for folder in folders
        if folder.model in (None, model.digest) and (sample or not folder.sample)
    ]


def _events(artifact_keys: list[str]) -> Select[tuple[dict[str, object]]]:
    """Folders of the flows whose stages made or found one of the artifacts, newest first."""
    return (
        select(Event.payload)
        .join(Run, Run.parent_id == Event.run_id)
        .where(Event.kind == EVENT, Run.artifact_key.in_(artifact_keys))
        .order_by(Run.started_at.desc(), Event.id.desc())
    )
