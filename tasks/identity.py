"""Which process a number means: after it ends, another one gets the same number.

Where there is /proc a process is known by its boot and the clock ticks from that boot to its start.
The time of day at its start, which psutil gives, moves with every step of the system clock.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from tasks.emissions.records import boot_id

PROC = Path("/proc")
# Of a time of day, in seconds: elsewhere it is all there is, and older versions wrote it.
TOLERANCE_SECONDS = 1.0

Started = str | float


def process_started(pid: int) -> Started | None:
    """What tells a process from a later one with the same number; None: there is none."""
    if _has_proc():
        found = _stat(pid)
        return None if found is None else _name(found)
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def process_alive(pid: int, started: Started | None) -> bool:
    """Whether that very process still runs (a zombie does not). None: whoever has the number."""
    if isinstance(started, str):
        found = _stat(pid)
        return found is not None and found[0] not in "ZX" and _name(found) == started
    try:
        process = psutil.Process(pid)
        if started is not None and abs(process.create_time() - started) > TOLERANCE_SECONDS:
            return False
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _has_proc() -> bool:
    return (PROC / "self" / "stat").exists()


def _name(stat: tuple[str, int]) -> str:
    return f"{boot_id()}/{stat[1]}"


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start of a process, in clock ticks since boot (fields 3 and 22 of its stat)."""
    try:
        line = (PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended while it was read
        return None
    # Its name, in brackets, may hold anything, brackets and blanks included.
    fields = line.rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])
