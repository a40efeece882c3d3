"""Typed questions to the registry's rows: runs, energy, models and their promotions.

No web code. Results are frozen; rows of the database never leave this module. What lies in
artifacts' files is read by ``contents``, evaluations by ``comparison``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select

from registry import emissions, runs
from registry.artifacts import ArtifactRef, Kind, ref_of
from registry.database import Registry
from registry.emissions import IDLE, EmissionTotals
from registry.promotion import CHAMPION
from registry.schema import (
    Artifact,
    Emission,
    Event,
    ModelAlias,
    ModelVersion,
    Promotion,
    Run,
)

FROZEN = ConfigDict(frozen=True, extra="forbid")


class RunRow(BaseModel):
    """One flow run or one attempt of a stage. ``depth`` counts from the run that was asked for.

    ``seconds`` is None while it runs; ``energy`` holds the run and everything under it.
    """

    model_config = FROZEN

    id: str
    parent_id: str | None
    flow: str
    stage: str | None
    recipe: str | None
    attempt: int
    status: str
    user: str
    git_commit: str | None
    prefect_flow_run_id: str | None
    prefect_task_run_id: str | None
    mlflow_run_id: str | None
    parameters: dict[str, Any]
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    artifact_key: str | None
    depth: int = 0
    energy: EmissionTotals = EmissionTotals()

    @property
    def seconds(self) -> float | None:
        """Wall time, s."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()

    @property
    def name(self) -> str:
        """The stage of an attempt, the flow of a flow run."""
        return self.stage or self.flow


class ArtifactRow(BaseModel):
    """One artifact: its reference and what the registry says of it. ``size`` is in bytes."""

    model_config = FROZEN

    ref: ArtifactRef
    sample: bool
    state: str
    size: int
    created_at: datetime
    manifest: dict[str, Any]


class LedgerRow(BaseModel):
    """Energy of one attempt on one node, IT kWh before PUE; carbon in t CO2eq.

    ``methods`` are the ways to count it (``paper``, ``measured``, ``full``) that were recorded.
    """

    model_config = FROZEN

    entry_id: str
    run_id: str | None
    stage: str
    attempt: int
    purpose: str
    status: str
    node: str
    began_at: datetime
    wall_s: float
    gpu_hours: float
    kwh_cpu: float
    kwh_gpu: float
    kwh_ram: float
    kwh_total: float
    pue: float
    intensity_kg_per_kwh: float
    intensity_source: str
    method: str
    measured_share: float
    tco2eq: float
    tco2eq_paper: float
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)


class PromotionRow(BaseModel):
    """One verdict with its gates."""

    model_config = FROZEN

    id: int
    verdict: str
    decided_by: str
    forced: bool
    reason: str | None
    at: datetime
    policy_hash: str
    gates: list[dict[str, Any]]


class ModelRow(BaseModel):
    """One version of a registered name, newest verdict first."""

    model_config = FROZEN

    name: str
    version: int
    key: str
    digest: str
    sample: bool
    created_at: datetime
    champion: bool
    promotions: list[PromotionRow]


class EventRow(BaseModel):
    """Something that happened to a run."""

    model_config = FROZEN

    kind: str
    payload: dict[str, Any]
    at: datetime
    run_id: str | None


class Overview(BaseModel):
    """What the first page shows."""

    model_config = FROZEN

    champions: list[ModelRow]
    runs: list[RunRow]
    run_count: int
    artifact_counts: dict[str, int]
    energy: EmissionTotals


def overview(registry: Registry, *, last: int = 8) -> Overview:
    """Champions, the last flow runs and the sums over everything that was recorded."""
    with registry.reading() as session:
        run_count = session.scalar(
            select(func.count()).select_from(Run).where(Run.parent_id.is_(None))
        )
        kinds = session.execute(
            select(Artifact.kind, func.count()).group_by(Artifact.kind).order_by(Artifact.kind)
        ).all()
        ledger = session.scalars(select(Emission)).all()
    return Overview(
        champions=champions(registry),
        runs=list_runs(registry, limit=last),
        run_count=run_count or 0,
        artifact_counts={row[0]: row[1] for row in kinds},
        energy=emissions.sum_up(ledger),
    )


def list_runs(registry: Registry, *, limit: int = 100) -> list[RunRow]:
    """Flow runs that no other run started, newest first, each with the energy of its tree."""
    rows = runs.list_runs(registry, limit=limit, top_level=True)
    return [_run_row(row, emissions.run_totals(registry, row.id)) for row in rows]


def run_tree(registry: Registry, run_id: str) -> list[RunRow]:
    """A run and every run under it, parents before children, in order of their start.

    ``run_id`` may be an unambiguous prefix; raises ``runs.UnknownRun``.
    """
    top = runs.get_run(registry, run_id)
    tree = select(Run.id).where(Run.id == top.id).cte("tree", recursive=True)
    tree = tree.union(select(Run.id).join(tree, Run.parent_id == tree.c.id))
    query = select(Run).where(Run.id.in_(select(tree.c.id))).order_by(Run.started_at, Run.id)
    with registry.reading() as session:
        found = list(session.scalars(query))
    children: dict[str | None, list[Run]] = {}
    for row in found:
        children.setdefault(row.parent_id, []).append(row)
    ledger = emissions.entries_of_run(registry, top.id)
    ordered: list[RunRow] = []

    def visit(row: Run, depth: int) -> set[str]:
        """Append the row and those under it; their ids."""
        place = len(ordered)
        ordered.append(_run_row(row, EmissionTotals(), depth))
        below = {row.id}
        for child in children.get(row.id, []):
            below |= visit(child, depth + 1)
        totals = emissions.sum_up(entry for entry in ledger if entry.run_id in below)
        ordered[place] = ordered[place].model_copy(update={"energy": totals})
        return below

    visit(next(row for row in found if row.id == top.id), 0)
    return ordered


def run_artifacts(registry: Registry, tree: Iterable[RunRow]) -> list[ArtifactRow]:
    """The artifacts that the runs made or found, in the order of the runs, each once."""
    keys = list(dict.fromkeys(row.artifact_key for row in tree if row.artifact_key))
    by_key = {row.ref.key: row for row in artifacts(registry, keys=keys)}
    return [by_key[key] for key in keys if key in by_key]


def artifacts(
    registry: Registry,
    *,
    kind: Kind | None = None,
    stage: str | None = None,
    keys: Collection[str] | None = None,
    limit: int | None = None,
) -> list[ArtifactRow]:
    """Artifacts, newest first."""
    query = select(Artifact).order_by(Artifact.created_at.desc(), Artifact.key).limit(limit)
    if kind is not None:
        query = query.where(Artifact.kind == kind.value)
    if stage is not None:
        query = query.where(Artifact.stage == stage)
    if keys is not None:
        query = query.where(Artifact.key.in_(keys))
    with registry.reading() as session:
        return [
            ArtifactRow(
                ref=ref_of(row),
                sample=row.sample,
                state=row.state,
                size=row.size,
                created_at=row.created_at,
                manifest=row.manifest,
            )
            for row in session.scalars(query)
        ]


def run_events(registry: Registry, tree: Iterable[RunRow]) -> list[EventRow]:
    """Events of the runs, oldest first."""
    query = select(Event).where(Event.run_id.in_([row.id for row in tree])).order_by(Event.id)
    with registry.reading() as session:
        return [
            EventRow(kind=row.kind, payload=row.payload, at=row.at, run_id=row.run_id)
            for row in session.scalars(query)
        ]


def ledger(registry: Registry, run_id: str | None = None) -> tuple[list[LedgerRow], EmissionTotals]:
    """Every attempt of the ledger (of a run's tree), oldest first, and the sums.

    Failed, lost and cancelled attempts are entries like the others. Idle time is in the sums only.
    """
    if run_id is not None:
        rows = emissions.entries_of_run(registry, run_id)
    else:
        with registry.reading() as session:
            query = select(Emission).order_by(Emission.began_at, Emission.entry_id)
            rows = list(session.scalars(query))
    return [_ledger_row(row) for row in rows if row.stage != IDLE], emissions.sum_up(rows)


def models(registry: Registry) -> list[ModelRow]:
    """All versions of all names, newest first, with every verdict."""
    with registry.reading() as session:
        versions = session.execute(
            select(ModelVersion, Artifact.sample)
            .join(Artifact, Artifact.key == ModelVersion.artifact_key)
            .order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc())
        ).all()
        verdicts = session.scalars(select(Promotion).order_by(Promotion.id.desc())).all()
        pointers = session.scalars(select(ModelAlias).where(ModelAlias.alias == CHAMPION)).all()
    leading = {(pointer.name, pointer.version) for pointer in pointers}
    by_version: dict[int, list[PromotionRow]] = {}
    for verdict in verdicts:
        by_version.setdefault(verdict.model_version_id, []).append(_promotion_row(verdict))
    return [
        ModelRow(
            name=version.name,
            version=version.version,
            key=version.artifact_key,
            digest=version.digest,
            sample=sample,
            created_at=version.created_at,
            champion=(version.name, version.version) in leading,
            promotions=by_version.get(version.id, []),
        )
        for version, sample in versions
    ]


def champions(registry: Registry) -> list[ModelRow]:
    """The champion of every name, models of real data before those of sample data."""
    return sorted((row for row in models(registry) if row.champion), key=lambda row: row.sample)


def _run_row(row: Run, energy: EmissionTotals, depth: int = 0) -> RunRow:
    names = RunRow.model_fields.keys() - {"depth", "energy"}
    return RunRow(**{name: getattr(row, name) for name in names}, depth=depth, energy=energy)


def _ledger_row(row: Emission) -> LedgerRow:
    names = LedgerRow.model_fields.keys() - {"tco2eq", "tco2eq_paper", "methods"}
    totals = emissions.sum_up([row])
    methods = row.details.get("methods")
    return LedgerRow(
        **{name: getattr(row, name) for name in names},
        tco2eq=totals.tco2eq,
        tco2eq_paper=totals.tco2eq_paper,
        methods=methods if isinstance(methods, dict) else {},
    )


def _promotion_row(row: Promotion) -> PromotionRow:
    gates = row.evidence.get("gates")
    return PromotionRow(
        id=row.id,
        verdict=row.verdict,
        decided_by=row.decided_by,
        forced=row.forced,
        reason=row.reason,
        at=row.at,
        policy_hash=row.policy_hash,
        gates=gates if isinstance(gates, list) else [],
    )
