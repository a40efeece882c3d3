"""Promotion: the gates' verdict, the champion pointer and the message to MLflow, all or nothing.

Refused verdicts are recorded like approved ones. The database refuses to change either.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.artifacts import Store
from registry.database import Registry
from registry.emissions import entries_of_recipes, sum_up
from registry.gates import Candidate, Facts, Gate, GatePolicy, Verdict, decide, registered_name
from registry.lineage import ancestors, lineage_problems, lineage_tree
from registry.manifest import ArtifactRef, Kind, ref_of
from registry.outbox import enqueue
from registry.runs import EvaluationRow
from registry.schema import Artifact, Evaluation, ModelAlias, ModelVersion, Promotion, now
from registry.versions import CHAMPION, champion, champions, describe

__all__ = [
    "Candidate",
    "Decision",
    "Facts",
    "Gate",
    "GatePolicy",
    "Verdict",
    "champion",
    "champions",
    "decide",
    "gather_facts",
    "list_promotions",
    "promote",
    "registered_name",
]

LICENSES = "licenses.json"
ATTEMPTS = 3  # a concurrent promotion of the same name makes one of the two start over


class Decision(BaseModel):
    """Outcome of one call of ``promote``. ``champion_version`` is the champion after it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    promotion_id: int
    name: str
    version: int
    approved: bool
    forced: bool
    champion_version: int | None
    verdict: Verdict


def promote(
    registry: Registry,
    *,
    name: str,
    model: ArtifactRef,
    policy: GatePolicy,
    facts: Facts,
    decided_by: str,
    force_reason: str | None = None,
    clock: Callable[[], datetime] = now,
) -> Decision:
    """Decide on ``model`` under ``name`` in one transaction, and move the champion if approved.

    The model gets a version number under the name (the same model keeps its own). With
    ``force_reason`` a refused model is promoted all the same and the reason recorded; the gate
    that keeps sample and real models apart cannot be forced. Raises ``ValueError`` for an unknown
    model, an empty reason, or an attempt to force that gate.
    """
    if force_reason is not None and not force_reason.strip():
        raise ValueError("forcing a promotion needs a reason; say why the gates are overruled")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with registry.session() as session:
                return _promote(
                    session, name, model, policy, facts, decided_by, force_reason, clock()
                )
        except IntegrityError:
            # Another process took the version number or moved the champion: decide again.
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def gather_facts(registry: Registry, store: Store, model: ArtifactRef) -> Facts:
    """What the gates must know of a model beside its evaluations, from its ancestors."""
    tree = lineage_tree(registry, store, model, max_files=0)
    above = [row for row in ancestors(registry, model.key) if row.state == "present"]
    keys = {model.key, *(row.key for row in above)}
    return Facts(
        lineage_problems=tuple(lineage_problems(tree)),
        licenses=_licenses(store, above),
        contamination=_contamination(above),
        emissions=sum_up(entries_of_recipes(registry, keys)),
    )


def list_promotions(
    registry: Registry, name: str | None = None, limit: int = 50
) -> list[tuple[Promotion, ModelVersion]]:
    """Verdicts with the version they are about, newest first."""
    query = (
        select(Promotion, ModelVersion)
        .join(ModelVersion, Promotion.model_version_id == ModelVersion.id)
        .order_by(Promotion.id.desc())
        .limit(limit)
    )
    if name is not None:
        query = query.where(ModelVersion.name == name)
    with registry.reading() as session:
        return [(promotion, version) for promotion, version in session.execute(query)]


def _promote(
    session: Session,
    name: str,
    model: ArtifactRef,
    policy: GatePolicy,
    facts: Facts,
    decided_by: str,
    force_reason: str | None,
    at: datetime,
) -> Decision:
    # On PostgreSQL this row lock makes promotions of one name queue up; SQLite has one writer.
    pointer = session.get(ModelAlias, (name, CHAMPION), with_for_update=True)
    incumbent = None if pointer is None else champion(session, name)
    version = _version_of(session, name, model, at)
    verdict = decide(
        name=name,
        candidate=_candidate(session, version),
        incumbent=None if incumbent is None else _candidate(session, incumbent),
        policy=policy,
        facts=facts,
    )
    forced = force_reason is not None and not verdict.approved
    if forced and any(gate.name == "data" for gate in verdict.failed):
        raise ValueError(f"{verdict.failed[0].detail}; this gate cannot be forced")
    approved = verdict.approved or forced
    promotion = Promotion(
        model_version_id=version.id,
        verdict="approved" if approved else "refused",
        incumbent_id=None if incumbent is None else incumbent.id,
        policy=policy.model_dump(mode="json"),
        policy_hash=policy.hash,
        evidence={
            "gates": verdict.model_dump(mode="json")["gates"],
            "facts": facts.model_dump(mode="json"),
        },
        decided_by=decided_by,
        forced=forced,
        reason=force_reason if forced else None,
        at=at,
    )
    session.add(promotion)
    session.flush()
    if approved:
        _point(session, pointer, version, promotion)
    after = version.version if approved else (incumbent.version if incumbent else None)
    return Decision(
        promotion_id=promotion.id,
        name=name,
        version=version.version,
        approved=approved,
        forced=forced,
        champion_version=after,
        verdict=verdict,
    )


def _version_of(session: Session, name: str, model: ArtifactRef, at: datetime) -> ModelVersion:
    """The model's version under the name; made, and told to MLflow, when it has none."""
    row = session.get(Artifact, model.key)
    if row is None or row.kind != Kind.MODEL:
        raise ValueError(f"{model.kind} {model.key} is no model artifact of this registry")
    if row.state != "present" or row.digest != model.digest:
        raise ValueError(f"model {model.digest[:12]} is {row.state} or was made anew; look it up")
    known = session.scalar(
        select(ModelVersion).where(
            ModelVersion.name == name,
            ModelVersion.artifact_key == row.key,
            ModelVersion.digest == row.digest,
        )
    )
    if known is not None:
        return known
    highest = session.scalar(
        select(func.max(ModelVersion.version)).where(ModelVersion.name == name)
    )
    version = ModelVersion(
        name=name,
        version=(highest or 0) + 1,
        artifact_key=row.key,
        digest=row.digest,
        created_at=at,
    )
    session.add(version)
    session.flush()
    payload = describe(version, row).model_dump(mode="json")
    enqueue(session, "model-version", f"model-version:{name}:{version.version}", payload)
    return version


def _point(
    session: Session, pointer: ModelAlias | None, version: ModelVersion, promotion: Promotion
) -> None:
    """Move the champion, and tell MLflow."""
    if pointer is None:
        pointer = ModelAlias(name=version.name, alias=CHAMPION)
        session.add(pointer)
    pointer.version = version.version
    pointer.promotion_id = promotion.id
    pointer.at = promotion.at
    payload = {
        "name": version.name,
        "version": version.version,
        "alias": CHAMPION,
        "key": version.artifact_key,
        "digest": version.digest,
        "promotion_id": promotion.id,
    }
    enqueue(session, CHAMPION, f"champion:{promotion.id}", payload)


def _candidate(session: Session, version: ModelVersion) -> Candidate:
    artifact = session.get_one(Artifact, version.artifact_key)
    rows = session.scalars(
        select(Evaluation)
        .where(Evaluation.model_digest == version.digest)  # same content, same figures
        .order_by(Evaluation.id)
    )
    names = EvaluationRow.model_fields.keys()
    return Candidate(
        artifact_key=version.artifact_key,
        digest=version.digest,
        sample=artifact.sample,
        rows=tuple(
            EvaluationRow.model_validate({name: getattr(row, name) for name in names})
            for row in rows
        ),
    )


def _licenses(store: Store, above: list[Artifact]) -> dict[str, int] | None:
    """Documents per licence over the sources' artifacts; None when none recorded any."""
    counts: dict[str, int] = {}
    found = False
    for row in above:
        if row.kind == Kind.DOCUMENTS and LICENSES in row.manifest["files"]:
            found = True
            text = (store.path(ref_of(row)) / LICENSES).read_text(encoding="utf-8")
            for license_name, documents in json.loads(text).items():
                counts[license_name] = counts.get(license_name, 0) + int(documents)
    return counts if found else None


def _contamination(above: list[Artifact]) -> dict[str, float] | None:
    """Shares per benchmark that a decontaminating stage put in its manifest's counts."""
    shares: dict[str, float] = {}
    found = False
    for row in above:
        recorded = row.manifest["counts"].get("contamination")
        if isinstance(recorded, dict):
            found = True
            for benchmark, share in recorded.items():
                shares[benchmark] = max(float(share), shares.get(benchmark, 0.0))
    return shares if found else None
