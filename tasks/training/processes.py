"""The processes of one launch: found while they run, watched, ended, waited for.

torchrun puts every rank into a session of its own, so the group of the child does not hold the
ranks: their process ids are collected while they run, and all of them are waited for. Any of them
may end between two looks; that is no error here.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tasks.training.engine.config import EXIT_DONE, EXIT_PREEMPTED

DEAD_RANK_SECONDS = 5.0  # a rank is gone this long and the run is not: it is called dead


class Processes:
    """The child, its descendants and the ranks, remembered also when their parent is gone."""

    def __init__(self, child: subprocess.Popen[bytes], ranks: Path, attempt: str) -> None:
        self.child, self._ranks, self._attempt = child, ranks, attempt
        self._known: dict[int, psutil.Process] = {}
        self.rank_pids: dict[int, int] = {}
        self._ended_well: set[int] = set()
        self._missing_since: dict[int, float] = {}

    def look(self) -> None:
        """Remember every descendant that exists now."""
        top = self._remember(self.child.pid)
        try:
            for process in top.children(recursive=True) if top else ():
                self._known.setdefault(process.pid, process)
        except psutil.NoSuchProcess:
            pass  # it just ended: what it left is known from earlier looks and the rank files
        for path in self._ranks.glob("*.json"):
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["attempt"] != self._attempt or told["host"] != platform.node():
                continue  # another machine's agent watches its own ranks and ends all with one
            self.rank_pids[int(path.stem)] = told["pid"]
            if told.get("code") in (EXIT_DONE, EXIT_PREEMPTED):
                self._ended_well.add(int(path.stem))
            if told["pid"] not in self._known:
                self._remember(told["pid"])

    def _remember(self, pid: int) -> psutil.Process | None:
        """The process of ``pid``; None when it ended, which it may at any instant."""
        try:
            return self._known.setdefault(pid, psutil.Process(pid))
        except psutil.NoSuchProcess:
            return None

    def alive(self) -> list[psutil.Process]:
        """Processes of this run that still run (zombies do not)."""
        self.child.poll()  # reaps it
        return [p for p in self._known.values() if _runs(p)]

    def dead_rank(self, now: float) -> int | None:
        """A rank that has been gone for DEAD_RANK_SECONDS while the child still runs."""
        for rank, pid in self.rank_pids.items():
            process = self._known.get(pid)
            if rank in self._ended_well or (process is not None and _runs(process)):
                continue
            if now - self._missing_since.setdefault(rank, now) > DEAD_RANK_SECONDS:
                return rank
        return None

    def end(self, grace_seconds: float, clock: Callable[[], float]) -> None:
        """SIGTERM to the group, up to ``grace_seconds``, SIGKILL, and wait until none is left."""
        self.look()
        if self.child.poll() is None:
            _signal_group(self.child.pid, signal.SIGTERM)
        for process in self.alive():
            if process.pid != self.child.pid:  # ranks live in their own sessions
                _signal(process, signal.SIGTERM)
        deadline = clock() + grace_seconds
        while self.alive() and clock() < deadline:
            self.look()
            time.sleep(0.1)
        while remaining := self.alive():
            for process in remaining:
                _signal(process, signal.SIGKILL)
            time.sleep(0.1)
        self.child.wait()


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it ended by itself, which is what was wanted


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return  # as above
