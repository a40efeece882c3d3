"""A rank's ties to the world: it stops when asked, and dies with its parent.

Signals only raise a flag; the loop reads the flag of all ranks together, after each micro-batch,
and saves. Without these ties ranks outlive a killed launcher and hold their device.
"""

from __future__ import annotations

import ctypes
import os
import platform
import select
import signal
import sys
import threading
import time
from types import FrameType

LAUNCHER_PID = "ARRIERO_LAUNCHER_PID"
LAUNCHER_HOST = "ARRIERO_LAUNCHER_HOST"
PR_SET_PDEATHSIG = 1
EXIT_DEADLINE = 124


class Lifeline:
    """Turns SIGTERM, SIGINT and the parent's death into ``stop_requested``.

    A daemon thread starts the hard deadline: ``grace_seconds`` after the first request the process
    ends by ``os._exit``, so that a hung collective cannot hold a device. The thread is woken
    through a pipe by Python's C-level handler, which works while the main thread is blocked in C.
    """

    def __init__(self, grace_seconds: float, poll_seconds: float = 1.0) -> None:
        self.stop_requested = False
        self._grace = grace_seconds
        self._poll = poll_seconds
        self._parent = os.getppid()
        launcher = os.environ.get(LAUNCHER_PID)
        # On another machine of the run its number would be somebody else's.
        here = os.environ.get(LAUNCHER_HOST, platform.node()) == platform.node()
        self._launcher = int(launcher) if launcher and here else None
        self._pipe, write_end = os.pipe()
        os.set_blocking(self._pipe, False)
        os.set_blocking(write_end, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        die_with_parent()
        if self._orphaned():  # the parent died before prctl: no signal will come
            self.stop_requested = True
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True

    def _orphaned(self) -> bool:
        if os.getppid() != self._parent:
            return True
        return self._launcher is not None and not _alive(self._launcher)

    def _watch(self) -> None:
        while not self.stop_requested:
            select.select([self._pipe], [], [], self._poll)
            try:
                if any(n in (signal.SIGTERM, signal.SIGINT) for n in os.read(self._pipe, 64)):
                    self.stop_requested = True
            except BlockingIOError:  # nothing arrived: this turn is the check on the parent
                self.stop_requested = self.stop_requested or self._orphaned()
        time.sleep(self._grace)
        sys.stderr.write(f"no clean stop within {self._grace:g} s: leaving the hard way\n")
        sys.stderr.flush()
        os._exit(EXIT_DEADLINE)


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask the kernel for ``number`` when the parent dies. Linux only; elsewhere Lifeline polls."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
