"""Work folders of the store: ``<root>/work/<key>``, the resumable state of a recipe.

A recipe's folder goes when its artifact is published. What is left of recipes that nobody finished
is swept once nobody has written to it for ``ABANDONED_S``. A folder is never taken from a process
that holds one of its two locks: ``work/<key>.lock`` is held by the flow that runs the stage,
``work/<key>/lock`` by a trainer, which may outlive its flow.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.files import storage_errors
from registry.staging import DAY_S, last_change

ABANDONED_S = 30 * DAY_S
KEEP = "keep"  # a file of this name in a work folder: somebody asked for what is in it
DOOMED = "gone-"


class WorkFolders:
    """The folders under ``<root>/work``."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.root = root
        self._folder = root / "work"
        self._clock = clock

    def make(self, key: str) -> Path:
        """The folder of a recipe; what an earlier attempt left is there."""
        with storage_errors(self.root):
            folder = self._folder / key
            folder.mkdir(parents=True, exist_ok=True)
            return folder

    def remove(self, key: str) -> bool:
        """Remove the folder of a recipe that is done; the caller holds ``work/<key>.lock``.

        False when there is none, when it is marked ``KEEP``, or while a trainer still holds it (a
        later sweep takes it then).
        """
        folder = self._folder / key
        with storage_errors(self.root), _unheld(folder / "lock") as free:
            return free and self._take(folder)

    def sweep(
        self, is_published: Callable[[str], bool], older_than_s: float = ABANDONED_S
    ) -> tuple[list[Path], list[Path]]:
        """Remove folders of published recipes, and those that nobody wrote to for that long.

        Returns (published, abandoned) folders that are gone. Leaves marked and held ones alone.
        """
        published: list[Path] = []
        abandoned: list[Path] = []
        if not self._folder.is_dir():
            return published, abandoned
        for folder in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            if folder.name.startswith(DOOMED):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            with storage_errors(self.root), _unused(folder) as free:
                if not free:
                    continue
                done = is_published(folder.name)
                if not done and self._clock() - last_change(folder) < older_than_s:
                    continue
                if self._take(folder):
                    (published if done else abandoned).append(folder)
        return published, abandoned

    def _take(self, folder: Path) -> bool:
        """Remove a folder whose locks the caller holds; False when it is gone, or marked."""
        if not folder.is_dir() or (folder / KEEP).exists():
            return False
        # By a rename: a kill in between must not leave a part that is taken for the whole.
        doomed = self._folder / f"{DOOMED}{uuid.uuid4().hex}"
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return True


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Whether neither a flow nor a trainer holds a folder; while inside, none can take it."""
    with _unheld(folder.with_name(f"{folder.name}.lock"), make=True) as no_flow:
        if not no_flow:
            yield False
            return
        with _unheld(folder / "lock") as no_trainer:
            yield no_trainer


@contextmanager
def _unheld(path: Path, *, make: bool = False) -> Iterator[bool]:
    """Whether no other process holds the lock file; while inside, none can take it."""
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_CREAT if make else 0)
    if not make and not path.exists():
        yield True
        return
    descriptor = os.open(path, flags, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
