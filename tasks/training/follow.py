"""What the trainer's files tell a launch while it runs: points of the curve, events, progress.

A point is told once, and only when no roll-back can take it back: its step is covered by a
checkpoint, or the run is over. A tracker cannot delete a point, so one of a branch that is given up
later must not reach it. Progress and step times are told at once; nobody keeps them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.training.engine.metrics import parse_line

Line = dict[str, Any]


@dataclass
class Appended:
    """Whole lines of a JSON-lines file as they come; from the first again when it was rewritten."""

    path: Path
    offset: int = 0
    _last: bytes = b""

    def read(self) -> tuple[list[Line], bool]:
        """Lines that were not read yet, and whether what was read before is void."""
        if not self.path.exists():
            return [], False
        with self.path.open("rb") as handle:
            # The last line read must still stand where it stood: a rewritten file may have the
            # size, and its inode the number, of the one before.
            handle.seek(self.offset - len(self._last))
            rewritten = handle.read(len(self._last)) != self._last
            if rewritten:
                self.offset = 0
                handle.seek(0)
            data = handle.read()
        whole = data[: data.rfind(b"\n") + 1]
        if whole:
            self.offset += len(whole)
            self._last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        elif rewritten:
            self._last = b""
        return [line for line in map(parse_line, whole.splitlines()) if line is not None], rewritten


@dataclass
class News:
    """What one look brought.

    events: lines of events.jsonl; the first look has those of earlier attempts too.
    points: lines of metrics.jsonl that stand for good, in the order of steps.
    latest: the newest line that has a loss, whether or not it stands for good.
    """

    events: list[Line]
    points: list[Line]
    latest: Line | None


@dataclass
class Follower:
    """Reads ``metrics.jsonl`` and ``events.jsonl`` of a work folder for one launch."""

    work: Path
    step_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=101))

    def __post_init__(self) -> None:
        self._metrics = Appended(self.work / "metrics.jsonl")
        self._events = Appended(self.work / "events.jsonl")
        self._earlier, _ = self._events.read()  # they do not say where this attempt goes on from
        self._settled: int | None = None  # newest step that is never redone; None: not begun
        self._waiting: list[Line] = []
        self._furthest = 0
        self._told_step = -1
        self._told_names: set[str] = set()

    def look(self, *, ended: bool = False) -> News:
        """What is new. ``ended``: the trainer is gone, so nothing is redone in this attempt."""
        events = self.new_events()  # before the points: a checkpoint covers what stands there now
        lines, rewritten = self._metrics.read()
        self._waiting = lines if rewritten else [*self._waiting, *lines]
        for line in lines:
            if "step_seconds" in line and line["step"] > self._furthest:
                self.step_seconds.append(line["step_seconds"])
                self._furthest = line["step"]
        latest = next((line for line in reversed(lines) if line.get("loss") is not None), None)
        return News(events, self._points(ended), latest)

    def new_events(self) -> list[Line]:
        """New lines of events.jsonl; what they say about checkpoints is taken in."""
        fresh, _ = self._events.read()
        for event in fresh:
            self._take_in(event)
        earlier, self._earlier = self._earlier, []
        return [*earlier, *fresh]

    def _take_in(self, event: Line) -> None:
        name, step = event["event"], event["step"]
        if name in ("started", "resumed", "rolled_back"):
            self._settled = step
        elif name in ("checkpoint", "finished") and self._settled is not None:
            self._settled = max(self._settled, step)

    def _points(self, ended: bool) -> list[Line]:
        if self._settled is None:  # the file still holds what the trainer will drop when it begins
            return []
        told, waiting = [], []
        for line in self._waiting:
            if line["step"] > self._settled and not ended:
                waiting.append(line)
            elif self._is_new(line):
                told.append(line)
        self._waiting = waiting
        return told

    def _is_new(self, line: Line) -> bool:
        """Whether the line was not told before; a step's validation is a line of its own."""
        step, names = line["step"], set(line) - {"step", "time"}
        if step < self._told_step or (step == self._told_step and names <= self._told_names):
            return False
        if step > self._told_step:
            self._told_step, self._told_names = step, set()
        self._told_names |= names
        return True
