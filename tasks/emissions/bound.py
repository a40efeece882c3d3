"""The power bound of a node, charged where no reading is near: what its hardware could draw.

It is made of the factors of the attempts that are open, never of those of whoever settles: the
charge of a finished attempt does not depend on what runs later with other parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tasks.emissions.parameters import EmissionsParameters

Mark = Mapping[str, Any]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """What is asked about: when an attempt was open, and the mark that opened it."""

    start: float
    end: float
    begin: Mark

    @cached_property
    def factors(self) -> EmissionsParameters | None:
        """Factors of the run that opened it. None: a mark from before marks carried them."""
        said = self.begin.get("factors")
        return None if said is None else EmissionsParameters.model_validate(said)


def node_gpus(records: Sequence[Record]) -> list[Mapping[str, Any]]:
    """GPUs of the node, by the newest session that lists them."""
    found = [r["hardware"]["gpus"] for r in records if "hardware" in r]
    return list(found[-1]) if found else []


class PowerBound:
    """Upper bound of one node's power in watts per device, at every moment with an open attempt.

    powers: watts that the meter saw at each record; the bound is never below them.
    parameters: factors of attempts whose mark carries none.
    """

    def __init__(
        self,
        records: Sequence[Record],
        powers: Sequence[Mapping[str, float]],
        spans: Sequence[Span],
        parameters: EmissionsParameters,
    ) -> None:
        self._gpus = node_gpus(records)
        self._spans = sorted(spans, key=lambda span: span.start)
        self._parameters = parameters
        self._seen: dict[str, float] = {}
        for power in powers:
            for device, value in power.items():
                self._seen[device] = max(self._seen.get(device, 0.0), value)

    def pieces(self, start: float, end: float) -> Iterator[tuple[float, float, dict[str, float]]]:
        """``(from, to, watts)`` in order; moments at which nothing is open are left out."""
        waiting = [span for span in self._spans if span.start < end and span.end > start]
        cuts = {t for span in waiting for t in (span.start, span.end) if start < t < end}
        waiting.reverse()
        active: list[Span] = []
        t0 = start
        for t1 in [*sorted(cuts), end]:
            while waiting and waiting[-1].start <= t0:
                active.append(waiting.pop())
            active = [span for span in active if span.end > t0]
            if active:
                yield t0, t1, self._watts(active)
            t0 = t1

    def _watts(self, spans: Sequence[Span]) -> dict[str, float]:
        factors = [span.factors or self._parameters for span in spans]
        tdp = max(f.gpu_tdp for f in factors)
        threads = max(span.begin.get("cpu_count", 1) for span in spans)
        memory = max(span.begin.get("ram_gb", 0.0) for span in spans)
        watts = {
            "cpu": threads * max(f.cpu_tdp_per_thread for f in factors),
            "ram": memory * max(f.ram_power_per_gb for f in factors),
        }
        reserved = max(span.begin.get("gpus") or 0 for span in spans)
        if self._gpus:
            for gpu in self._gpus:
                watts[f"gpu:{gpu['uuid']}"] = gpu.get("power_limit_w", tdp)
        elif reserved:
            watts["gpu"] = reserved * tdp
        for device, value in self._seen.items():
            watts[device] = max(watts.get(device, 0.0), value)
        return watts
