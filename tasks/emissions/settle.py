"""From files to rows: read records and marks, compute the ledger, write it to the registry."""

from __future__ import annotations

import fcntl
import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from registry.database import Registry
from registry.emissions import IDLE, EmissionEntry, upsert_emissions
from registry.schema import Emission, Run
from tasks.emissions.ledger import Entry, Ledger, build_ledger
from tasks.emissions.marks import read_marks
from tasks.emissions.methods import three_methods
from tasks.emissions.parameters import EmissionsParameters
from tasks.emissions.records import boot_id, boottime, emissions_folder, node_id, read_records
from tasks.identity import process_alive

log = logging.getLogger("arriero.emissions")
_CHUNK = 500  # bound of SQLite's variables per statement is 999 in old versions


def read_ledger(home: Path, parameters: EmissionsParameters) -> Ledger:
    """The ledger as of now; problems of the files (an edited record) are among its problems."""
    marks, _ = read_marks(home)
    here = {"node_id": node_id(), "boot_id": boot_id(), "boottime_s": boottime()}
    ended = {m["entry_id"] for m in marks if m["event"] == "end"}
    alive = [
        m["entry_id"]
        for m in marks
        if m["event"] == "begin"
        and m["entry_id"] not in ended
        and (m["node_id"], m["boot_id"]) == (here["node_id"], here["boot_id"])
        and process_alive(m["pid"], m["pid_started"])
    ]
    records, problems = read_records(home)
    ledger = build_ledger(records, marks, here, parameters, alive)
    return Ledger(ledger.entries, ledger.totals, problems + ledger.problems)


def settle(home: Path, registry: Registry, parameters: EmissionsParameters) -> list[EmissionEntry]:
    """Bring the registry's ledger rows up to date. Idempotent; safe to call from several flows.

    An entry has the factors of the run that opened it, whoever settles. ``parameters`` are for
    marks from before they carried factors; such an entry keeps what it was first settled with.
    Returns the rows of all attempts and of the nodes' idle time.
    """
    with (emissions_folder(home) / "settle.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ledger = read_ledger(home, parameters)
        for problem in ledger.problems:
            log.warning("emissions: %s", problem)
        known = _known_rows(registry, [entry.entry_id for entry in ledger.entries])
        runs = _known_runs(
            registry, {i for e in ledger.entries for i in (e.entry_id, e.run_id) if i}
        )
        idle = _idle_shares(ledger.entries)
        rows = [
            _row(entry, known.get(entry.entry_id), runs, idle, parameters, ledger.problems)
            for entry in ledger.entries
        ]
        upsert_emissions(registry, [r for r in rows if _changed(r, known.get(r.entry_id))])
    return rows


def _row(
    entry: Entry,
    known: Emission | None,
    runs: set[str],
    idle: dict[str, float],
    parameters: EmissionsParameters,
    problems: list[str],
) -> EmissionEntry:
    if entry.factors is not None:
        parameters = entry.factors
    elif known is not None and entry.stage != IDLE:
        parameters = parameters.model_copy(
            update={
                "pue": known.pue,
                "intensity": known.intensity_kg_per_kwh,
                "intensity_source": known.intensity_source,
                "gpu_tdp": known.details["gpu_tdp_w"],
            }
        )
    methods = three_methods(entry, parameters, idle.get(entry.entry_id, 0.0))
    details: dict[str, Any] = {
        "flow_run": entry.run_id,
        "model_size": entry.model_size,
        "gpus": entry.gpus,
        "gpu_tdp_w": parameters.gpu_tdp,
        "microjoules": entry.microjoules,
        "kwh_other": entry.kwh_other,
        "kwh_gap": entry.kwh_gap,
        "kwh_bound": entry.kwh_bound,
        "unmetered": entry.unmetered,
        "estimated": entry.estimated,
        "sensors": entry.sensors,
        "methods": {name: method.model_dump() for name, method in methods.items()},
    }
    if entry.stage == IDLE:
        details["problems"] = problems
    return EmissionEntry(
        entry_id=entry.entry_id,
        # The attempt's own row where it has one: the registry finds its recipe through it.
        run_id=next((i for i in (entry.entry_id, entry.run_id) if i in runs), None),
        stage=entry.stage,
        attempt=entry.attempt,
        purpose=entry.purpose,
        status=entry.status,
        node=entry.node,
        began_at=entry.began_at,
        ended_at=entry.ended_at,
        wall_s=entry.wall_s,
        gpu_hours=entry.gpu_hours,
        kwh_cpu=entry.kwh_cpu,
        kwh_gpu=entry.kwh_gpu,
        kwh_ram=entry.kwh_ram,
        kwh_total=entry.kwh_total,
        pue=parameters.pue,
        intensity_kg_per_kwh=parameters.intensity,
        intensity_source=parameters.intensity_source,
        method=_method_name(entry),
        measured_share=entry.measured_share,
        details=details,
    )


def _method_name(entry: Entry) -> str:
    """How the energy is known, in one word."""
    if entry.microjoules and entry.kwh_bound == entry.kwh_total:
        return "bound"
    if entry.measured_share == 1:
        return "counters"
    return "counters and models" if entry.measured_share > 0 else "models"


def _changed(row: EmissionEntry, known: Emission | None) -> bool:
    return (
        known is None
        or known.status != row.status
        or known.run_id != row.run_id
        or known.details != row.details
    )


def _idle_shares(entries: Iterable[Entry]) -> dict[str, float]:
    """Each attempt's part of its node's idle energy, in proportion to its own energy."""
    idle: dict[str, float] = defaultdict(float)
    busy: dict[str, int] = defaultdict(int)
    listed = list(entries)
    for entry in listed:
        if entry.stage == IDLE:
            idle[entry.node] += entry.kwh_total
        else:
            busy[entry.node] += entry.microjoules
    return {
        e.entry_id: idle[e.node] * e.microjoules / busy[e.node]
        for e in listed
        if e.stage != IDLE and busy[e.node]
    }


def _known_rows(registry: Registry, ids: list[str]) -> dict[str, Emission]:
    found: dict[str, Emission] = {}
    with registry.reading() as session:
        for start in range(0, len(ids), _CHUNK):
            query = select(Emission).where(Emission.entry_id.in_(ids[start : start + _CHUNK]))
            found |= {row.entry_id: row for row in session.scalars(query)}
    return found


def _known_runs(registry: Registry, ids: set[str]) -> set[str]:
    listed = sorted(ids)
    found: set[str] = set()
    with registry.reading() as session:
        for start in range(0, len(listed), _CHUNK):
            query = select(Run.id).where(Run.id.in_(listed[start : start + _CHUNK]))
            found |= set(session.scalars(query))
    return found
