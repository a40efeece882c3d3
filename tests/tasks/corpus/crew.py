"""Jobs that misbehave on purpose, for the tests of the executor."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from tasks.corpus.funnel import BadFileError
from tasks.corpus.guard import Guard


def double(guard: Guard, *, value: int, wait: float = 0.0) -> int:
    """Twice the value, after a while."""
    time.sleep(wait)
    return 2 * value


def records(guard: Guard, *, name: str, what: dict[str, str]) -> dict[str, Any]:
    """Ten records, some of which hang, crash or exhaust; what was read and what was passed."""
    read, passed = [], {}
    for offset in range(10):
        reason = guard.begin(name, offset)
        if reason is not None:
            passed[str(offset)] = reason
            continue
        trouble = what.get(str(offset))
        if trouble == "hang":
            time.sleep(600)
        elif trouble == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif trouble == "evicted" and not Path(f"{name}.evicted").exists():
            Path(f"{name}.evicted").touch()
            os.kill(os.getpid(), signal.SIGKILL if offset % 2 else signal.SIGTERM)
        elif trouble == "memory":
            bytearray(10**12)
        read.append(offset)
    guard.end()
    return {"read": read, "passed": passed}


def fail(guard: Guard, *, kind: str) -> None:
    """Errors of several kinds."""
    if kind == "ours":
        raise BadFileError("c4: a.jsonl: empty file")
    if kind == "full":
        raise OSError(28, "No space left on device")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    raise KeyError("a defect")


def show(guard: Guard, *, root: str, name: str) -> str:
    """What a file of the data folder holds."""
    return (Path(root) / name).read_text()


def hold(guard: Guard, *, megabytes: int, again: bool = False) -> int:
    """Take memory, with a record in hand or not."""
    if again:
        guard.begin("a", 0)
    held = bytearray(megabytes * 1_000_000)
    return len(held)


def leave(guard: Guard, *, how: str) -> str:
    """A temporary folder that nobody removes."""
    folder = tempfile.mkdtemp()
    if how == "die":
        guard.begin("a", 0)
        Path(folder, "large").write_bytes(bytes(1000))
        time.sleep(600)
    return folder


def note(guard: Guard, *, path: str) -> str:
    """Leave a sign of having run."""
    with Path(path).open("a") as handle:
        handle.write(f"{os.getpid()}\n")
    return path
