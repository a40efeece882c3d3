"""Stage marks: when an attempt began and ended on which node. The other half of the ledger."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tasks.emissions.parameters import PAPER_FACTORS, EmissionsParameters
from tasks.emissions.records import (
    boot_id,
    boottime,
    emissions_folder,
    encode,
    node_id,
    wall_utc,
)
from tasks.identity import process_alive, process_started

MARKS = "marks.jsonl"
ENDINGS = ("completed", "failed", "cancelled", "preempted", "stopped_by_budget")


def begin(
    home: Path,
    *,
    entry_id: str,
    run_id: str,
    stage: str,
    attempt: int,
    purpose: str = "final",
    model_size: str | None = None,
    pid: int | None = None,
    gpus: int | None = None,
    parameters: EmissionsParameters = PAPER_FACTORS,
) -> None:
    """Open the entry of one stage attempt.

    entry_id: unique per attempt (the registry's id of the attempt).
    purpose: final, experiment, ablation, warm-up, repeat.
    pid: process whose death means that the attempt is lost; this one by default.
    gpus: GPUs reserved on this node; None means all that the meter finds.
    parameters: factors of its run. The mark keeps them, because whichever flow ends first settles
        the attempts of all flows.
    """
    pid = pid or os.getpid()
    _append(
        home,
        {
            "event": "begin",
            "entry_id": entry_id,
            "run_id": run_id,
            "stage": stage,
            "attempt": attempt,
            "purpose": purpose,
            "model_size": model_size,
            "pid": pid,
            "pid_started": process_started(pid),
            "gpus": gpus,
            "factors": parameters.factors(),
            # Needed for the bound when no meter ever ran.
            "cpu_count": os.cpu_count() or 1,
            "ram_gb": round(psutil.virtual_memory().total / 1e9, 3),
        },
    )


def end(home: Path, *, entry_id: str, status: str) -> None:
    """Close an entry with one of ``ENDINGS``. Only the first end of an entry counts.

    Raises:
        ValueError: another status; it would be refused when the ledger is settled, much later.
    """
    if status not in ENDINGS:
        raise ValueError(f"entry {entry_id}: status {status!r}; use one of {', '.join(ENDINGS)}")
    _append(home, {"event": "end", "entry_id": entry_id, "status": status})


def _append(home: Path, fields: Mapping[str, Any]) -> None:
    path = emissions_folder(home) / MARKS
    line = encode(
        {
            **fields,
            "v": 1,
            "node_id": node_id(),
            "boot_id": boot_id(),
            "boottime_s": boottime(),
            "wall_utc": wall_utc(),
        }
    )
    with path.open("a+b", buffering=0) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = handle.seek(0, os.SEEK_END)
        if size:
            handle.seek(size - 1)
            if handle.read(1) != b"\n":  # torn by a kill: keep it on its own line
                line = b"\n" + line
        handle.write(line)
        os.fsync(handle.fileno())


def read_marks(home: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Marks from byte ``offset`` on, and the offset to go on from. Torn lines are skipped."""
    path = home / "emissions" / MARKS
    if not path.exists():
        return [], offset
    with path.open("rb") as handle:
        handle.seek(offset)
        data = handle.read()
    whole = data.rfind(b"\n") + 1
    marks = []
    for line in data[:whole].splitlines():
        try:
            mark = json.loads(line)
        except ValueError:
            continue
        if isinstance(mark, dict) and "entry_id" in mark:
            marks.append(mark)
    return marks, offset + whole


class OpenMarks:
    """Attempts open on this node in this boot, followed through the growing marks file."""

    def __init__(self, home: Path) -> None:
        self._home, self._offset = home, 0
        self._open: dict[str, dict[str, Any]] = {}
        self._node, self._boot = node_id(), boot_id()

    def alive(self) -> list[str]:
        """Entry ids whose process is alive now, sorted."""
        marks, self._offset = read_marks(self._home, self._offset)
        for mark in marks:
            if mark.get("event") == "begin":
                if (mark["node_id"], mark["boot_id"]) == (self._node, self._boot):
                    self._open[mark["entry_id"]] = mark
            else:
                self._open.pop(mark["entry_id"], None)
        for entry in [
            e for e, m in self._open.items() if not process_alive(m["pid"], m["pid_started"])
        ]:
            del self._open[entry]
        return sorted(self._open)
