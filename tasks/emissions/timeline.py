"""The time line of one node: from cumulative records to slices of energy without holes.

Where no reading is near, nothing is called zero: last known power (``gap``) between two sessions up
to ``GAP_INTERVALS`` apart and for ``LATE_INTERVALS`` at the open end, else the bound of the
hardware (``bound``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tasks.emissions.bound import PowerBound, Record, Span
from tasks.emissions.parameters import EmissionsParameters

# 5 minutes at the default interval: a restarted meter; longer, and nobody knows what went on.
GAP_INTERVALS = 20
# A record counts as late after two intervals; power is taken as unchanged until then.
LATE_INTERVALS = 2

Coverage = Literal["metered", "gap", "bound"]


@dataclass(frozen=True)
class Segment:
    """Cumulative microjoules per device between two moments; linear in between."""

    start: float
    end: float
    at_start: Mapping[str, int]
    at_end: Mapping[str, int]
    coverage: Coverage
    sensors: Mapping[str, str]
    # The meter was suspended: counters went on counting, a model did not look.
    late: bool = False

    def between(self, t0: float, t1: float) -> dict[str, int]:
        """Energy of a part; parts that touch add up exactly, because each end is rounded once."""
        return {d: self._value(d, t1) - self._value(d, t0) for d in self.at_end}

    def _value(self, device: str, t: float) -> int:
        a, b = self.at_start.get(device, 0), self.at_end[device]
        if t >= self.end:
            return b
        if t <= self.start:
            return a
        return a + round((b - a) * (t - self.start) / (self.end - self.start))


def slices(
    records: Sequence[Record],
    spans: Sequence[Span],
    parameters: EmissionsParameters,
) -> Iterator[tuple[Segment, float, float]]:
    """Pieces of time in order, ``(segment, from, to)``, cut wherever a span begins or ends."""
    cuts = sorted({t for s in spans for t in (s.start, s.end)})
    index = 0
    for segment in _segments(records, spans, parameters):
        t0 = segment.start
        while index < len(cuts) and cuts[index] <= t0:
            index += 1
        position = index
        while position < len(cuts) and cuts[position] < segment.end:
            yield segment, t0, cuts[position]
            t0 = cuts[position]
            position += 1
        yield segment, t0, segment.end


def _segments(
    records: Sequence[Record], spans: Sequence[Span], parameters: EmissionsParameters
) -> Iterator[Segment]:
    """The time line of one node and boot, from the first to the last moment asked.

    Its only holes are moments without a reading at which nothing was open: nobody is charged.
    """
    powers = _powers(records)
    bound = PowerBound(records, powers, spans, parameters)
    first = min((s.start for s in spans), default=float("inf"))
    last = max((s.end for s in spans), default=float("-inf"))
    if not records:
        yield from _bounded(first, last, bound)
        return
    head, tail = records[0], records[-1]
    if first < head["boottime_s"]:
        known = powers[min(1, len(powers) - 1)]
        yield from _fill(first, head["boottime_s"], head, known, bound, LATE_INTERVALS, late=True)
    for index in range(1, len(records)):
        a, b = records[index - 1], records[index]
        if b["boottime_s"] <= a["boottime_s"]:
            continue
        if a["session_id"] == b["session_id"]:
            yield Segment(
                a["boottime_s"],
                b["boottime_s"],
                _microjoules(a),
                _microjoules(b),
                "metered",
                b["sensors"],
                late=bool(b.get("gap")),
            )
        else:
            yield from _fill(
                a["boottime_s"], b["boottime_s"], a, powers[index - 1], bound, GAP_INTERVALS
            )
    if last > tail["boottime_s"]:
        yield from _fill(tail["boottime_s"], last, tail, powers[-1], bound, LATE_INTERVALS)


def _fill(
    start: float,
    end: float,
    record: Record,
    known: Mapping[str, float],
    bound: PowerBound,
    intervals: int,
    late: bool = False,
) -> Iterator[Segment]:
    """A stretch without readings: last known power if it is short, else the bound."""
    limit = intervals * record["interval_s"]
    if known and (end - start <= limit):
        yield _constant(start, end, known, "gap", record["sensors"])
    elif known and not late and intervals == LATE_INTERVALS:
        yield _constant(start, start + limit, known, "gap", record["sensors"])
        yield from _bounded(start + limit, end, bound)
    else:
        yield from _bounded(start, end, bound)


def _bounded(start: float, end: float, bound: PowerBound) -> Iterator[Segment]:
    for t0, t1, watts in bound.pieces(start, end):
        yield _constant(t0, t1, watts, "bound", {})


def _constant(
    start: float,
    end: float,
    watts: Mapping[str, float],
    coverage: Coverage,
    sensors: Mapping[str, str],
) -> Segment:
    energy = {d: round(w * (end - start) * 1e6) for d, w in watts.items()}
    return Segment(start, end, dict.fromkeys(watts, 0), energy, coverage, sensors)


def _powers(records: Sequence[Record]) -> list[dict[str, float]]:
    """Watts per device known at each record: those of the interval that it ends.

    A session's first record ends none; it takes the power of the session before, if any.
    """
    powers: list[dict[str, float]] = [{}]
    for a, b in pairwise(records):
        seconds = b["boottime_s"] - a["boottime_s"]
        if a["session_id"] == b["session_id"] and seconds > 0:
            before = _microjoules(a)
            powers.append(
                {d: (e - before.get(d, 0)) / 1e6 / seconds for d, e in _microjoules(b).items()}
            )
        else:
            powers.append(powers[-1])
    return powers


def _microjoules(record: Record) -> dict[str, int]:
    return {device: round(value * 1e6) for device, value in record["joules"].items()}
