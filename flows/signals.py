"""Signals that end ``arriero``: noted and looked at, never raised.

An exception in the middle of stopping the services would leave half of them behind.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StopSignals:
    """Notes SIGINT, SIGTERM and SIGHUP from its creation on (in the main thread)."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # `nohup` means that a closed terminal shall not end it.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether there was one."""
        return self._event.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep until there is one; False when ``seconds`` went by without."""
        return self._event.wait(seconds)
