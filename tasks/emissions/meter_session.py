"""One session of the node meter: cumulative readings into one chained file."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from tasks.emissions.marks import OpenMarks
from tasks.emissions.records import ChainWriter, boot_id, boottime, node_id, wall_utc
from tasks.emissions.sensors import CodeCarbonSensor

log = logging.getLogger("arriero.emissions")


class MeterSession:
    """Writes one session file; called from CodeCarbon's timer threads and from the main one."""

    def __init__(self, folder: Path, home: Path, interval: float) -> None:
        self.id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        self._writer = ChainWriter(folder / f"{self.id}.jsonl")
        self._open_marks = OpenMarks(home)
        self._interval = interval
        self._lock = threading.Lock()
        self._facts = {"node_id": node_id(), "boot_id": boot_id(), "session_id": self.id}
        self._joules: dict[str, float] = {}
        self.last_reading: float | None = None
        # By a clock that stands still while the machine is suspended: silence is measured in
        # time in which the sensor could have spoken.
        self.last_heard: float | None = None
        self.error: str | None = None
        self.sensor: CodeCarbonSensor | None = None

    def reading(self, joules: dict[str, float]) -> None:
        """One record of cumulative joules. An error is kept and reported, never raised."""
        with self._lock:
            try:
                now = boottime()
                # Timer threads may overlap: a counter never runs backwards.
                for device, value in joules.items():
                    self._joules[device] = max(value, self._joules.get(device, 0.0))
                late = self.last_reading is not None and (
                    now - self.last_reading > 3 * self._interval
                )
                assert self.sensor is not None
                first = self.last_reading is None
                self._write(
                    {
                        "kind": "reading",
                        "boottime_s": now,
                        "interval_s": self._interval,
                        "joules": {k: round(v, 6) for k, v in sorted(self._joules.items())},
                        "sensors": self.sensor.sensors(),
                        "check": {k: round(v, 6) for k, v in self.sensor.check.items()},
                        "gap": late,
                        "alive": self._open_marks.alive(),
                        **({"hardware": self.sensor.hardware()} if first else {}),
                    }
                )
                self.last_reading, self.last_heard = now, time.monotonic()
            except Exception as error:  # a handler that raises takes the measurement thread along
                self.error = f"{type(error).__name__}: {error}"
                log.exception("reading lost")

    def end(self, reason: str) -> None:
        """The last line; carries no energy of its own."""
        with self._lock:
            self._write({"kind": "end", "boottime_s": boottime(), "reason": reason})
            self._writer.close()

    def _write(self, fields: dict[str, Any]) -> None:
        self._writer.append({**self._facts, "wall_utc": wall_utc(), **fields})
