"""Evaluation rows: one figure of one benchmark for one model, or why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Exists, exists, or_, select
from sqlalchemy.orm import Session, aliased

from registry.database import Registry
from registry.manifest import ArtifactRef, Kind, ref_of
from registry.schema import Artifact, ArtifactInput, Evaluation


class EvaluationRow(BaseModel):
    """One row of an evaluation's ``results.json``. ``value`` is there exactly when it ran.

    sampling: how answers were drawn (``precision``; for texts ``temperature`` and
    ``max_new_tokens``; for programs ``top_p`` and ``samples`` too); empty where it was not
    recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    benchmark: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    value: float | None = None
    stderr: float | None = None
    n: int = Field(default=0, ge=0)
    shots: int = Field(default=0, ge=0)
    protocol_version: int = 1
    prompt_hash: str | None = None
    data_sha256: str | None = None
    truncated: int = Field(default=0, ge=0)
    sampling: dict[str, int | float | str] = Field(default_factory=dict)
    status: Literal["ok", "not run"] = "ok"
    reason: str | None = None
    sample: bool = False

    @model_validator(mode="after")
    def _value_when_ok(self) -> EvaluationRow:
        if (self.status == "ok") != (self.value is not None):
            raise ValueError(
                f"{self.benchmark} {self.metric}: a row that is ok has a value, "
                "one that was not run has none"
            )
        if self.status == "not run" and not self.reason:
            raise ValueError(f"{self.benchmark} {self.metric}: say why it was not run")
        return self


def record_evaluations(
    session: Session,
    *,
    artifact: ArtifactRef,
    model: ArtifactRef,
    rows: Iterable[EvaluationRow | Mapping[str, Any]],
) -> int:
    """Record the rows of an evaluation artifact about a model, in the caller's transaction.

    Returns how many were new. Idempotent: a row of the same artifact, model, benchmark, metric and
    shots is kept as it is. Models with the same content share an evaluation artifact, and each has
    rows of its own. A model made from sample data makes every row about it a sample row. Raises
    ``ValueError`` for an unknown artifact or a bad row; then none is recorded.
    """
    checked = [
        row if isinstance(row, EvaluationRow) else EvaluationRow.model_validate(dict(row))
        for row in rows
    ]
    known_model = session.get(Artifact, model.key)
    for ref, found in ((model, known_model), (artifact, session.get(Artifact, artifact.key))):
        if found is None:
            raise ValueError(f"no artifact {ref.key} in the registry to attach evaluations to")
    assert known_model is not None
    known = {
        (row.benchmark, row.metric, row.shots)
        for row in session.scalars(
            select(Evaluation).where(
                Evaluation.artifact_key == artifact.key, Evaluation.model_key == model.key
            )
        )
    }
    fresh = [row for row in checked if (row.benchmark, row.metric, row.shots) not in known]
    for row in fresh:
        values = row.model_dump()
        values["sample"] = row.sample or known_model.sample
        session.add(
            Evaluation(
                artifact_key=artifact.key,
                model_key=model.key,
                model_digest=model.digest,
                **values,
            )
        )
    return len(fresh)


def models_without_evaluation(session: Session) -> list[ArtifactRef]:
    """Models in the store whose content no figure tells about, oldest first.

    A figure speaks for every model with the same content. One on sample items says nothing about
    a real model, and a row ``not run`` says nothing at all.
    """
    rows = session.scalars(
        select(Artifact)
        .where(
            Artifact.kind == Kind.MODEL.value,
            Artifact.state == "present",
            ~_evaluated(Artifact),
        )
        .order_by(Artifact.created_at, Artifact.key)
    )
    return [ref_of(row) for row in rows]


def checkpoints_without_evaluation(session: Session) -> list[ArtifactRef]:
    """Checkpoints in the store that have no figure and no exported model, oldest first.

    An exported model has the checkpoint's weights: its figures are the checkpoint's, and while it
    has none it is itself among ``models_without_evaluation``.
    """
    model = aliased(Artifact)
    exported = (
        exists()
        .where(
            ArtifactInput.input_digest == Artifact.digest,
            ArtifactInput.artifact_key == model.key,
            model.kind == Kind.MODEL.value,
            or_(model.state == "present", _evaluated(model)),
        )
        .correlate(Artifact)
    )
    rows = session.scalars(
        select(Artifact)
        .where(
            Artifact.kind == Kind.CHECKPOINT.value,
            Artifact.state == "present",
            ~_evaluated(Artifact),
            ~exported,
        )
        .order_by(Artifact.created_at, Artifact.key)
    )
    return [ref_of(row) for row in rows]


def _evaluated(artifact: type[Artifact]) -> Exists:
    """Whether a figure tells about the artifact's content."""
    return (
        exists()
        .where(
            Evaluation.model_digest == artifact.digest,
            Evaluation.sample == artifact.sample,
            Evaluation.status == "ok",
        )
        .correlate(artifact)
    )


def list_evaluations(
    registry: Registry, *, model_key: str | None = None, artifact_key: str | None = None
) -> Sequence[Evaluation]:
    """Evaluation rows of a model, or of one evaluation artifact, in the order they were made."""
    query = select(Evaluation).order_by(Evaluation.id)
    if model_key is not None:
        query = query.where(Evaluation.model_key == model_key)
    if artifact_key is not None:
        query = query.where(Evaluation.artifact_key == artifact_key)
    with registry.reading() as session:
        return session.scalars(query).all()
