"""Ledger rows of energy, and their sums. Energy is stored once; carbon is derived here.

Two figures side by side: with the factors of each entry, and with the paper's factor of
0.385 kg CO2eq per kWh (LLaMA, section 6) on the same energy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import or_, select

from registry.database import Registry
from registry.schema import Emission, Run

PAPER_KG_PER_KWH = 0.385
# Stage of the rows that hold what a node used while no attempt was open; they are no attempts.
IDLE = "idle"

Status = Literal[
    "open", "completed", "failed", "cancelled", "lost", "preempted", "stopped_by_budget"
]


class EmissionEntry(BaseModel):
    """Energy of one attempt of one stage on one node. kWh are of the IT equipment, before PUE."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    entry_id: str = Field(min_length=1)
    run_id: str | None = None
    stage: str
    attempt: int = Field(default=1, ge=1)
    purpose: str = "final"
    status: Status = "open"
    node: str
    began_at: datetime
    ended_at: datetime | None = None
    wall_s: float = Field(default=0.0, ge=0)
    gpu_hours: float = Field(default=0.0, ge=0)
    kwh_cpu: float = Field(default=0.0, ge=0)
    kwh_gpu: float = Field(default=0.0, ge=0)
    kwh_ram: float = Field(default=0.0, ge=0)
    kwh_total: float = Field(default=0.0, ge=0)
    pue: float = Field(ge=1.0, le=3.0)
    # 5 to 1500 g/kWh covers every grid; 0.385 given for 385 g, or the reverse, does not pass.
    intensity_kg_per_kwh: float = Field(ge=0.005, le=1.5)
    intensity_source: str
    method: str
    measured_share: float = Field(default=0.0, ge=0, le=1)
    details: dict[str, Any] = Field(default_factory=dict)


class EmissionTotals(BaseModel):
    """Sums over ledger entries.

    ``entries``, ``open_entries`` and ``wall_s`` are of attempts; the energy of idle nodes is in all
    sums of energy and carbon, and ``idle_kwh`` says how much of ``kwh`` it is. ``kwh`` is IT
    energy, ``kwh_facility`` the same times PUE; ``tco2eq`` uses each entry's own intensity,
    ``tco2eq_paper`` 0.385 kg/kWh; ``measured_share`` is weighted by energy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: int = 0
    open_entries: int = 0
    wall_s: float = 0.0
    gpu_hours: float = 0.0
    kwh: float = 0.0
    idle_kwh: float = 0.0
    kwh_facility: float = 0.0
    tco2eq: float = 0.0
    tco2eq_paper: float = 0.0
    measured_share: float = 0.0


def upsert_emissions(registry: Registry, entries: Iterable[EmissionEntry]) -> int:
    """Record or replace ledger rows by ``entry_id``; how many were written.

    An entry that was closed is not opened again by a late report of its beginning. The energy of
    a run that this registry does not know (the meter outlives a registry) is kept without its
    run; the id stays in ``details["unknown_run_id"]``.
    """
    written = 0
    with registry.session() as session:
        for entry in entries:
            row = session.get(Emission, entry.entry_id, with_for_update=True)
            if row is not None and row.status != "open" and entry.status == "open":
                continue
            values = entry.model_dump()
            if entry.run_id is not None and session.get(Run, entry.run_id) is None:
                values["run_id"] = None
                values["details"] = entry.details | {"unknown_run_id": entry.run_id}
            session.merge(Emission(**values))
            written += 1
    return written


def entries_of_run(registry: Registry, run_id: str) -> list[Emission]:
    """Ledger rows of a run and of every run under it, failed and lost attempts included."""
    tree = select(Run.id).where(Run.id == run_id).cte("tree", recursive=True)
    tree = tree.union(select(Run.id).join(tree, Run.parent_id == tree.c.id))
    query = select(Emission).where(Emission.run_id.in_(select(tree.c.id)))
    with registry.reading() as session:
        return list(session.scalars(query.order_by(Emission.began_at, Emission.entry_id)))


def entries_of_recipes(registry: Registry, keys: Collection[str]) -> list[Emission]:
    """Ledger rows of every attempt at these recipes: what making the artifacts cost."""
    if not keys:
        return []
    runs = select(Run.id).where(or_(Run.recipe.in_(keys), Run.artifact_key.in_(keys)))
    query = select(Emission).where(Emission.run_id.in_(runs))
    with registry.reading() as session:
        return list(session.scalars(query.order_by(Emission.began_at, Emission.entry_id)))


def run_totals(registry: Registry, run_id: str) -> EmissionTotals:
    """Sums over a run and every run under it."""
    return sum_up(entries_of_run(registry, run_id))


def sum_up(rows: Iterable[Emission | EmissionEntry]) -> EmissionTotals:
    """Sums over ledger rows; nothing is multiplied by PUE or intensity twice."""
    listed = list(rows)
    attempts = [row for row in listed if row.stage != IDLE]
    kwh = sum(row.kwh_total for row in listed)
    facility = sum(row.kwh_total * row.pue for row in listed)
    measured = sum(row.kwh_total * row.measured_share for row in listed)
    kilograms = sum(row.kwh_total * row.pue * row.intensity_kg_per_kwh for row in listed)
    return EmissionTotals(
        entries=len(attempts),
        open_entries=sum(row.status == "open" for row in attempts),
        wall_s=sum(row.wall_s for row in attempts),
        gpu_hours=sum(row.gpu_hours for row in listed),
        kwh=kwh,
        idle_kwh=sum(row.kwh_total for row in listed if row.stage == IDLE),
        kwh_facility=facility,
        tco2eq=kilograms / 1000,
        tco2eq_paper=facility * PAPER_KG_PER_KWH / 1000,
        measured_share=measured / kwh if kwh else 0.0,
    )
