"""metrics.jsonl and events.jsonl: what the launcher, the tracker and the dashboard read.

One JSON object a line, flushed line by line, written by rank 0. A resumed run first drops the
lines of steps that it will do again, so each step stands in the file once.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.context import atomic_write_text

# What the heartbeat file holds. Until a step of this session is done nobody knows how long one
# takes, and a checkpoint may be large: the launcher waits longer then.
STARTING, TRAINING = "starting", "training"

MFU_FORMULA = "(6N + 12LdT) * tokens_per_s / (peak_flops * world), N with embeddings"


def heartbeat_path(work: Path, attempt: str) -> Path:
    """The file by whose changes one launcher sees that its trainer lives.

    Per attempt: a second launch that waits for the work folder must not vouch for the first.
    """
    return work / "heartbeats" / (attempt or "direct")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a JSON-lines file; what a kill or a power cut left of a line is left out."""
    if not path.exists():
        return []
    whole = path.read_bytes().split(b"\n")[:-1]
    return [line for line in map(parse_line, whole) if line is not None]


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The object in one line, None when there is none: a log must not make a run unusable."""
    try:
        value = json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return value if isinstance(value, dict) else None


class RunLog:
    """Metrics and events of one session (one start of the trainer), and its clocks.

    tokens_per_s counts this session's tokens over this session's time in steps; goodput is the
    time in steps that still count over the session's wall time since the process began.
    Rank 0 writes; on other ranks every method does nothing.
    """

    def __init__(
        self,
        work: Path,
        *,
        writes: bool,
        started: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        heartbeat: Path | None = None,
    ) -> None:
        self._work, self._writes, self._clock, self._wall = work, writes, clock, wall
        self._started = started
        self._tokens = 0
        self._step_seconds = 0.0
        self._productive: dict[int, float] = {}
        self._heartbeat = heartbeat or work / "heartbeat"
        self._phase = ""

    def beat(self) -> None:
        """Tell the launcher that this rank makes progress."""
        if self._writes and self._phase == "":
            self.enter(STARTING)
        elif self._writes:
            self._heartbeat.touch()

    def enter(self, phase: str) -> None:
        """Beat, and say what is under way: ``STARTING`` or ``TRAINING``."""
        self._phase = phase
        if self._writes:
            self._heartbeat.write_text(phase, encoding="utf-8")

    def resume_at(self, step: int) -> None:
        """Drop what was measured beyond ``step``; the steps will be done again."""
        self._productive = {s: t for s, t in self._productive.items() if s <= step}
        path = self._work / "metrics.jsonl"
        if self._writes and path.exists():
            kept = [line for line in read_lines(path) if line["step"] <= step]
            atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def count(self, step: int, tokens: int, seconds: float, useful: bool) -> None:
        """Account for one step's time; a skipped step is no productive time."""
        if self._phase != TRAINING:
            self.enter(TRAINING)
        self._tokens += tokens
        self._step_seconds += seconds
        if useful:
            self._productive[step] = seconds

    def speed(self) -> dict[str, float]:
        """tokens_per_s, goodput (both of this session) and peak memory of rank 0."""
        alive = max(self._clock() - self._started, 1e-9)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak_bytes = peak if sys.platform == "darwin" else peak * 1024
        return {
            "tokens_per_s": self._tokens / max(self._step_seconds, 1e-9),
            "goodput": sum(self._productive.values()) / alive,
            "memory_mb": peak_bytes / 1e6,
        }

    def metrics(self, step: int, **values: Any) -> None:
        """One line of metrics.jsonl: ``step`` = optimizer steps done, wall-clock ``time``."""
        self._append("metrics.jsonl", {"step": step, "time": self._wall(), **values})

    def event(self, name: str, step: int, **details: Any) -> None:
        """One line of events.jsonl, with the wall-clock time."""
        self._append("events.jsonl", {"event": name, "step": step, "at": self._wall(), **details})

    def _append(self, name: str, line: dict[str, Any]) -> None:
        if not self._writes:
            return
        path = self._work / name
        _drop_cut_line(path)  # it would swallow this one
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(_finite(line)) + "\n")


def _finite(line: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a non-finite number becomes null."""
    wrong = (float("inf"), float("-inf"))
    return {
        k: None if isinstance(v, float) and (v != v or v in wrong) else v for k, v in line.items()
    }


def _drop_cut_line(path: Path) -> None:
    """Truncate to the last newline, when a kill left a line without its end."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as handle:
        handle.seek(-1, os.SEEK_END)
        if handle.read(1) != b"\n":
            handle.seek(0)
            handle.truncate(handle.read().rfind(b"\n") + 1)
