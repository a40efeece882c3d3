"""The ledger: a pure function of meter records and stage marks.

Sharing rule: at every moment the node's energy goes to the attempts open on it, in equal parts;
when none is open it is ``idle``. Energies are integer microjoules until the end, so the stages and
``idle`` add up to the node exactly.

Where no reading covers an attempt nothing is called zero (``tasks.emissions.timeline``): it is
filled with the last known power, or charged at the power bound and called ``unmetered``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from registry.emissions import IDLE
from tasks.emissions.bound import Mark, Record, Span, node_gpus
from tasks.emissions.parameters import EmissionsParameters
from tasks.emissions.sensors import JOULES_PER_KWH, MEASURED
from tasks.emissions.timeline import LATE_INTERVALS, Segment, slices

DISAGREEMENT = 0.05


class Entry(BaseModel):
    """Energy of one attempt (or of a node's idle time). IT energy in kWh, before PUE.

    kwh_gap, kwh_bound: parts of the total that are no readings: last known power, power bound.
    measured_share: part of the energy that counters gave (RAPL, NVML), 0 to 1; a TDP model and
        constants are not measured.
    unmetered: some of its time has no reading near it and was charged at the bound.
    factors: those of the run that opened the attempt; for idle time, of the newest attempt there.
        None: no mark says.
    """

    model_config = ConfigDict(frozen=True)

    entry_id: str
    run_id: str | None
    stage: str
    attempt: int = 1
    purpose: str = "final"
    model_size: str | None = None
    status: str
    node: str
    began_at: datetime
    ended_at: datetime | None
    wall_s: float
    gpus: int
    gpu_hours: float
    kwh_cpu: float
    kwh_gpu: float
    kwh_ram: float
    kwh_other: float
    kwh_total: float
    kwh_gap: float
    kwh_bound: float
    microjoules: int
    measured_share: float
    unmetered: bool
    estimated: bool
    sensors: dict[str, str]
    factors: EmissionsParameters | None = None


@dataclass
class NodeTotal:
    """Microjoules of one node in one boot: all readings, and what was filled in for attempts."""

    node: str
    boot: str
    metered: int = 0
    filled: int = 0

    @property
    def microjoules(self) -> int:
        """Everything the node is charged with."""
        return self.metered + self.filled


@dataclass(frozen=True)
class Ledger:
    """Entries (attempts, then one ``idle`` per node and boot) and the totals they add up to."""

    entries: list[Entry]
    totals: list[NodeTotal]
    problems: list[str] = field(default_factory=list)


@dataclass
class _Attempt:
    span: Span
    status: str
    closed: bool
    devices: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    measured: int = 0
    gap: int = 0
    bound: int = 0
    bound_seconds: float = 0.0
    sensors: dict[str, str] = field(default_factory=dict)

    def charge(self, device: str, energy: int, segment: Segment) -> None:
        self.devices[device] += energy
        sensor = segment.sensors.get(device, "unknown")
        if segment.coverage == "metered":
            self.sensors[device] = sensor
        else:
            self.sensors.setdefault(device, segment.coverage)
        if segment.coverage == "gap" or (segment.late and sensor not in MEASURED):
            self.gap += energy
        elif segment.coverage == "bound":
            self.bound += energy
        elif sensor in MEASURED:
            self.measured += energy


def build_ledger(
    records: Iterable[Record],
    marks: Iterable[Mark],
    now: Mapping[str, Any],
    parameters: EmissionsParameters,
    alive: Collection[str] = (),
) -> Ledger:
    """Entries of all attempts on all nodes.

    Args:
        records: readings of all sessions, verified (``records.read_records``).
        marks: stage marks (``marks.read_marks``).
        now: ``node_id``, ``boot_id`` and ``boottime_s`` of the observer; open attempts of this
            node and boot that are alive are charged up to it.
        parameters: factors of attempts whose mark carries none.
        alive: open entries whose process lives now. Any other open entry is ``lost`` and closed
            at the first record that no longer saw it.
    """
    by_place: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_place[record["node_id"], record["boot_id"]].append(record)
    marks_by_place: dict[tuple[str, str], list[Mark]] = defaultdict(list)
    problems: list[str] = []
    ends: dict[str, Mark] = {}
    begun: set[str] = set()
    for mark in marks:
        entry = mark["entry_id"]
        if mark["event"] == "begin":
            if entry in begun:
                problems.append(f"mark: entry {entry} begun twice, the first one counts")
                continue
            begun.add(entry)
            marks_by_place[mark["node_id"], mark["boot_id"]].append(mark)
        elif entry not in begun:
            problems.append(f"mark: entry {entry} ended but never began")
        else:
            ends.setdefault(entry, mark)
    entries: list[Entry] = []
    totals: list[NodeTotal] = []
    for place in sorted(by_place.keys() | marks_by_place.keys()):
        ordered = sorted(by_place[place], key=lambda r: (r["boottime_s"], r["seq"]))
        problems += _cross_check(ordered)
        here = place == (now["node_id"], now["boot_id"])
        attempts = [
            _close(
                begin,
                ends.get(begin["entry_id"]),
                ordered,
                marks_by_place[place],
                now if here else None,
                alive,
            )
            for begin in marks_by_place[place]
        ]
        total = NodeTotal(*place)
        idle = _share(ordered, attempts, total, parameters)
        gpus = node_gpus(ordered)
        entries += [_entry(attempt, place[0], gpus) for attempt in attempts]
        if ordered:
            newest = max(attempts, key=lambda a: a.span.start, default=None)
            factors = newest.span.factors if newest else None
            entries.append(_idle_entry(place, ordered, idle, factors))
        totals.append(total)
    return Ledger(entries, totals, problems)


def _close(
    begin: Mark,
    end: Mark | None,
    records: Sequence[Record],
    marks: Sequence[Mark],
    now: Mapping[str, Any] | None,
    alive: Collection[str],
) -> _Attempt:
    """When and how an attempt ended; an end in another boot cannot be its own."""
    start = float(begin["boottime_s"])
    if end is not None and end["boot_id"] == begin["boot_id"]:
        return _Attempt(
            Span(start, max(start, end["boottime_s"]), begin), end["status"], closed=True
        )
    if now is not None and begin["entry_id"] in alive:
        return _Attempt(Span(start, max(start, now["boottime_s"]), begin), "open", closed=False)
    # Up to one interval too much rather than too little: until the first moment that did not see
    # it any more, but not for ever when meter and stage died together.
    seen = [r for r in records if begin["entry_id"] in r.get("alive", ())]
    last_seen = max([start, *(r["boottime_s"] for r in seen)])
    limits = [r["boottime_s"] for r in records if r["boottime_s"] > last_seen]
    if seen:
        limits.append(last_seen + LATE_INTERVALS * seen[-1]["interval_s"])
    else:
        limits += [m["boottime_s"] for m in marks if m["boottime_s"] > last_seen]
        limits += [now["boottime_s"]] if now is not None else []
    return _Attempt(Span(start, min(limits, default=last_seen), begin), "lost", closed=True)


def _share(
    records: Sequence[Record],
    attempts: Sequence[_Attempt],
    total: NodeTotal,
    parameters: EmissionsParameters,
) -> dict[str, int]:
    """Charge every slice of time; returns the idle energy per device in microjoules."""
    idle: dict[str, int] = defaultdict(int)
    waiting = sorted(attempts, key=lambda a: a.span.start)
    active: list[_Attempt] = []
    for segment, t0, t1 in slices(records, [a.span for a in attempts], parameters):
        while waiting and waiting[0].span.start <= t0:
            active.append(waiting.pop(0))
        active = [a for a in active if a.span.end > t0]
        if not active and segment.coverage != "metered":
            continue  # nobody worked for us and nobody measured: not ours to charge
        for device, energy in segment.between(t0, t1).items():
            if segment.coverage == "metered":
                total.metered += energy
            else:
                total.filled += energy
            if not active:
                idle[device] += energy
                continue
            part, rest = divmod(energy, len(active))
            for index, attempt in enumerate(active):
                attempt.charge(device, part + (index < rest), segment)
        if segment.coverage == "bound":
            for attempt in active:
                attempt.bound_seconds += t1 - t0
    return dict(idle)


def _cross_check(records: Sequence[Record]) -> list[str]:
    """Sessions in which CodeCarbon and the counters of the same GPUs disagree."""
    last = {r["session_id"]: r for r in records}
    problems = []
    for session, record in last.items():
        other = record.get("check", {}).get("codecarbon_gpu", 0.0)
        own = sum(e for d, e in record["joules"].items() if d.startswith("gpu:"))
        # Zero is CodeCarbon without nvidia-smi; below a kilojoule the edges decide.
        if other and own > 1000 and abs(other / own - 1) > DISAGREEMENT:
            problems.append(
                f"session {session}: CodeCarbon has {other:.0f} J for the GPUs, their counters"
                f" {own:.0f} J"
            )
    return problems


def _entry(attempt: _Attempt, node: str, node_gpus: Sequence[Mapping[str, Any]]) -> Entry:
    begin = attempt.span.begin
    gpus = begin.get("gpus")
    gpus = len(node_gpus) if gpus is None else gpus
    wall = attempt.span.end - attempt.span.start
    began = datetime.fromisoformat(begin["wall_utc"])
    return Entry(
        entry_id=begin["entry_id"],
        run_id=begin["run_id"],
        stage=begin["stage"],
        attempt=begin["attempt"],
        purpose=begin["purpose"],
        model_size=begin["model_size"],
        status=attempt.status,
        node=node,
        began_at=began,
        ended_at=began + timedelta(seconds=wall) if attempt.closed else None,
        wall_s=wall,
        gpus=gpus,
        gpu_hours=gpus * wall / 3600,
        kwh_gap=_kwh(attempt.gap),
        kwh_bound=_kwh(attempt.bound),
        unmetered=attempt.bound_seconds > 0,
        estimated=attempt.gap > 0 or attempt.bound > 0,
        **_energies(attempt.devices, attempt.measured),
        sensors=attempt.sensors,
        factors=attempt.span.factors,
    )


def _idle_entry(
    place: tuple[str, str],
    records: Sequence[Record],
    idle: Mapping[str, int],
    factors: EmissionsParameters | None,
) -> Entry:
    """Energy of the node while no attempt was open; its wall time is the metered span."""
    sensors: dict[str, str] = {}
    for record in records:
        sensors |= record["sensors"]
    return Entry(
        entry_id=f"{IDLE}:{place[0]}:{place[1]}",
        run_id=None,
        stage=IDLE,
        purpose="overhead",
        status="open",
        node=place[0],
        began_at=datetime.fromisoformat(records[0]["wall_utc"]).astimezone(UTC),
        ended_at=datetime.fromisoformat(records[-1]["wall_utc"]).astimezone(UTC),
        wall_s=records[-1]["boottime_s"] - records[0]["boottime_s"],
        gpus=0,
        gpu_hours=0.0,
        kwh_gap=0.0,
        kwh_bound=0.0,
        unmetered=False,
        estimated=False,
        **_energies(idle, sum(e for d, e in idle.items() if sensors.get(d) in MEASURED)),
        sensors=sensors,
        factors=factors,
    )


def _energies(devices: Mapping[str, int], measured: int) -> dict[str, Any]:
    groups = {"cpu": 0, "gpu": 0, "ram": 0, "other": 0}
    for device, energy in devices.items():
        group = device.split(":", 1)[0]
        groups[group if group in groups else "other"] += energy
    total = sum(groups.values())
    return {
        **{f"kwh_{name}": _kwh(energy) for name, energy in groups.items()},
        "kwh_total": _kwh(total),
        "microjoules": total,
        "measured_share": measured / total if total else 0.0,
    }


def _kwh(microjoules: int) -> float:
    return microjoules / 1e6 / JOULES_PER_KWH
