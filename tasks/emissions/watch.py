"""Has the node meter started again when it was killed, for as long as a flow runs.

``ensure_meter`` is for the begin of a flow and waits for a reading; this one looks at the meter's
lock every second from a thread of the flow's process and waits for nothing.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.emissions import meter

EVERY_SECONDS = 1.0
# A meter that cannot measure this machine ends at once; starting it costs a second of a core.
LONGEST_PAUSE_SECONDS = 300.0

log = logging.getLogger("arriero.emissions")


class MeterWatch:
    """Starts the meter when nobody has its lock; after starts in vain with growing pauses."""

    def __init__(
        self,
        home: Path,
        interval: float,
        supervisor_pid: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home, self._interval, self._supervisor = home.resolve(), interval, supervisor_pid
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = EVERY_SECONDS
        self._not_before = clock()

    def look(self) -> bool:
        """Look once; whether a meter was started."""
        info = meter.read_info(self._home)
        if meter.lock_held(self._home):
            if info is not None and info.status == "metering":
                self._pause, self._not_before = EVERY_SECONDS, self._clock()
            return False
        if self._process is not None and self._process.poll() is None:
            return False  # it starts
        if self._clock() < self._not_before:
            return False
        # Services that end stop their meter first and the flows' processes last.
        if self._supervisor is None and info is not None and info.reason == "stopped":
            return False
        log.warning("the meter is gone (%s); starting it again", info.reason if info else "never")
        self._process = meter.spawn_meter(self._home, self._interval, self._supervisor)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._not_before = self._clock() + self._pause
        return True


@contextmanager
def kept_alive(
    home: Path, interval: float, supervisor_pid: int | None, *, every: float = EVERY_SECONDS
) -> Iterator[None]:
    """Watch the node's meter while the body runs."""
    watch = MeterWatch(home, interval, supervisor_pid)
    over = threading.Event()

    def loop() -> None:
        while not over.wait(every):
            try:
                watch.look()
            except OSError:  # a full disk, say: it may have room again in a second
                log.exception("the meter cannot be looked after")

    thread = threading.Thread(target=loop, name="meter-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
