"""Locks between processes of one installation: a file, held by flock, gone with its holder."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.2
SAY_AGAIN_S = 30.0


class LockTimeout(TimeoutError):
    """Another process held the lock all the time."""


@contextmanager
def exclusive(
    path: Path, *, what: str, log: logging.Logger, timeout_s: float | None = None
) -> Iterator[None]:
    """Hold the lock file ``path``; waits for another holder and says so.

    The descriptor is close-on-exec, so no child of the holder inherits the lock.

    Raises:
        LockTimeout: ``timeout_s`` passed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    began = said = time.monotonic()
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now = time.monotonic()
                if timeout_s is not None and now - began > timeout_s:
                    raise LockTimeout(f"{what}: another process holds {path}") from None
                if said == began or now - said > SAY_AGAIN_S:
                    log.info("%s: another process is at it; waiting", what)
                    said = now + 1e-9
                time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)
