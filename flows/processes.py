"""Processes of a stack: found by their mark, ended by their group, nobody else's touched."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "ARRIERO_STACK"


def marked_processes(mark: str) -> list[psutil.Process]:
    """Living processes of this user that carry the stack's mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue  # gone meanwhile, or another user's: not ours
    return found


def marked_pids(home: Path) -> list[int]:
    """Living processes of any stack of this home, for when its record is lost."""
    found = []
    for process in psutil.process_iter():
        try:
            values = process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue  # gone meanwhile, or another user's: not ours
        if MARK in values and values.get("ARRIERO_HOME") == str(home):
            found.append(process.pid)
    return sorted(found)


def listens(pid: int, port: int) -> bool:
    """Whether the process or one below it holds the listening socket of ``port``."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    for member in family:
        try:
            connections = member.net_connections("inet")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone meanwhile
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return True
    return False


def belongs(pid: int, mark: str) -> bool:
    """Whether the process lives and carries the mark: a pid alone may be another's by now."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def end_groups(pids: list[int], timeout_s: float, hurry: Callable[[], bool]) -> None:
    """SIGTERM to the process groups, all at once; SIGKILL to what is left after the time-out.

    ``hurry`` ends the first wait at once; the second one is for the kernel only.
    """
    left = pids
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
        deadline = time.monotonic() + timeout_s
        while left and time.monotonic() < deadline:
            for pid in left:
                _reap(pid)
            left = _living_groups(left)
            if number == signal.SIGTERM and hurry():
                break
            if left:
                time.sleep(0.1)


def _living_groups(groups: list[int]) -> list[int]:
    """Those with a member that lives. A zombie does not, though signals still reach its group: it
    stays until its parent, perhaps another command, looks after it."""
    living = set()
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            group = os.getpgid(process.pid)
            if group in groups and _lives(process):
                living.add(group)
    return [group for group in groups if group in living]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # started by an earlier process: init reaps it


def end_processes(
    processes: list[psutil.Process], grace_s: float, hurry: Callable[[], bool]
) -> None:
    """SIGTERM to all; SIGKILL to those that live on after ``grace_s`` seconds, or in a hurry."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = time.monotonic() + grace_s
    left = processes
    while left and time.monotonic() < deadline and not hurry():
        _, left = psutil.wait_procs(left, timeout=0.1)
        left = [process for process in left if _lives(process)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
