"""Locks of the operating system: one trainer per work folder, one process per GPU.

They are ``flock`` locks: the kernel lets go of them when the process ends, however it ends. Waiting
is polled, so that a waiting process shows life and can be told to stop.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tasks.training.engine.distributed import StopRequested

POLL_SECONDS = 0.5


def acquire(
    path: Path,
    *,
    beat: Callable[[], None],
    stop_requested: Callable[[], bool],
    what: str,
    shared: bool = False,
) -> int:
    """Wait for the lock on ``path`` and hold it; returns the descriptor, closing it lets go.

    Children do not inherit the descriptor. shared: other users lock the file too, so it is only
    read; else it is open for writing, which a network file system asks for.

    Raises:
        StopRequested: while waiting.
    """
    descriptor = _open(path, os.O_RDONLY if shared else os.O_RDWR)
    said = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if not said:
                print(f"waiting for another trainer to let go of {what} ({path})", flush=True)
                said = True
        if stop_requested():
            os.close(descriptor)
            raise StopRequested
        beat()
        time.sleep(POLL_SECONDS)


def _open(path: Path, flags: int) -> int:
    while True:
        try:
            return os.open(path, flags | os.O_NOFOLLOW)
        except FileNotFoundError:
            try:
                return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            except FileExistsError:  # made by another process in between
                continue


def device_directory() -> Path:
    """Where all trainers of this machine, of any user and any recipe, lock their GPUs."""
    path = Path(tempfile.gettempdir()) / "arriero-devices"
    try:
        path.mkdir()
        path.chmod(0o1777)  # as its parent: everyone may add a lock, nobody removes another's
    except FileExistsError:
        return path
    return path


def device_names(world: int) -> list[str]:
    """File names that stand for the GPUs of the local ranks, the same in every process.

    By UUID, where torch tells it: the same GPU may be visible under different numbers. An entry of
    CUDA_VISIBLE_DEVICES that names a MIG slice is kept, since slices of a GPU share its UUID.
    """
    import torch

    entries = [e for e in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if e.strip()]
    names = []
    for index in range(world):
        entry = entries[index].strip() if index < len(entries) else str(index)
        if not entry.startswith("MIG-") and index < torch.cuda.device_count():
            uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
            entry = f"GPU-{uuid}" if uuid else entry
        names.append(f"{entry.replace('/', '-')}.lock")
    return names


def acquire_device(
    directory: Path,
    names: list[str],
    rank: int,
    taken: Callable[[int], bool],
    *,
    beat: Callable[[], None],
    stop_requested: Callable[[], bool],
) -> int:
    """Wait for the GPU of ``rank`` and hold it; returns the descriptor, which nobody closes.

    Every rank holds its own lock: one held by the launcher is lost when the launcher is killed
    while its ranks still write. The ranks of a run take theirs in the order of the names, each
    after ``taken(rank before it)``: two runs would else wait for each other's second GPU.

    Raises:
        StopRequested: while waiting.
    """
    order = sorted(range(len(names)), key=lambda r: names[r])
    place = order.index(rank)
    while place and not taken(order[place - 1]):
        if stop_requested():
            raise StopRequested
        beat()
        time.sleep(POLL_SECONDS)
    return acquire(
        directory / names[rank],
        beat=beat,
        stop_requested=stop_requested,
        what=f"GPU {names[rank]}",
        shared=True,
    )
