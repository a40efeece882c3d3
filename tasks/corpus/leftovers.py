"""Folders that a step is making, and those that killed processes left half made.

Each has a name of its own with the host in it, and a lock that lives as long as its maker. One
whose lock nobody holds was left. Only this machine's are judged, whose locks it can see on any file
system.
"""

from __future__ import annotations

import logging
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.locks import LockTimeout, exclusive

LOCKS = ".locks"
KINDS = ("tmp", "stale")
_log = logging.getLogger("arriero")


@contextmanager
def owned(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Names beside ``folder``: to make it under, and to move a stale one to; gone at the end."""
    # No host's name has a plus, so that none is taken for the end of another's.
    mark = f".{folder.name}+{platform.node()}+{uuid.uuid4().hex}"
    lock = folder.parent / LOCKS / mark
    temporary, stale = (folder.with_name(f"{mark}.{kind}") for kind in KINDS)
    with exclusive(lock, what=folder.name, log=_log):
        try:
            yield temporary, stale
        finally:
            for left in (temporary, stale):
                shutil.rmtree(left, ignore_errors=True)
            lock.unlink(missing_ok=True)


def sweep(parent: Path) -> None:
    """Remove what dead processes of this machine left in ``parent``."""
    host = re.escape(platform.node())
    pattern = re.compile(rf"(\..*\+{host}\+[0-9a-f]{{32}})\.(?:{'|'.join(KINDS)})")
    for left in sorted(parent.iterdir()):
        found = pattern.fullmatch(left.name)
        if found is None:
            continue
        lock = parent / LOCKS / found.group(1)
        with suppress(LockTimeout), exclusive(lock, what=left.name, log=_log, timeout_s=0.0):
            shutil.rmtree(left, ignore_errors=True)
            lock.unlink(missing_ok=True)
