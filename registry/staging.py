"""Staging directories of the store: who holds them and when they are swept."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

from registry.files import storage_errors

DAY_S = 86_400.0


class Staging:
    """``<root>/tmp/tmp-<uuid>`` directories, each held by a lock of the process that made it."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.root = root
        self._clock = clock
        self._held: dict[Path, IO[bytes]] = {}

    def new(self) -> Path:
        """An empty directory; ``sweep`` leaves it alone as long as this process lives."""
        with storage_errors(self.root):
            staging = self.root / "tmp" / f"tmp-{uuid.uuid4().hex}"
            staging.mkdir(parents=True)
            handle = _lock_file(staging).open("wb")
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._held[staging] = handle
            return staging

    def release(self, staging: Path) -> None:
        """Let go of a directory that was published or removed."""
        handle = self._held.pop(staging, None)
        if handle is not None:
            handle.close()
        _lock_file(staging).unlink(missing_ok=True)

    def discard(self, staging: Path) -> None:
        """Remove a directory that will not be published."""
        shutil.rmtree(staging, ignore_errors=True)
        self.release(staging)

    def sweep(self, older_than_s: float = DAY_S) -> list[Path]:
        """Remove directories that no process holds and nobody wrote to for that long."""
        swept: list[Path] = []
        with storage_errors(self.root):
            for staging in sorted((self.root / "tmp").glob("tmp-*")):
                if not staging.is_dir() or _is_held(staging):
                    continue
                if self._clock() - last_change(staging) >= older_than_s:
                    self.discard(staging)
                    swept.append(staging)
        return swept


def _lock_file(staging: Path) -> Path:
    return staging.with_name(f".{staging.name}.lock")


def _is_held(staging: Path) -> bool:
    """Whether a living process holds a staging directory."""
    try:
        with _lock_file(staging).open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def last_change(folder: Path) -> float:
    """Newest modification time under ``folder``, in seconds since 1970.

    Infinite when something vanished during the look: a change just now.
    """
    try:
        newest = folder.stat().st_mtime
        for parent, folders, names in os.walk(folder, onerror=_raise_vanished):
            for name in (*folders, *names):
                newest = max(newest, (Path(parent) / name).lstat().st_mtime)
    except FileNotFoundError:
        return math.inf
    return newest


def _raise_vanished(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        raise error
