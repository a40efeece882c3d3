"""Whether a step is done for a shard: its folder is there, and whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

from registry.files import hash_file

DONE = "done.json"


def read_done(folder: Path) -> dict[str, Any] | None:
    """What was said when the folder was made; None when it is not there or a file differs."""
    path = folder / DONE
    if not path.is_file():
        return None
    record = json.loads(path.read_text("utf-8"))
    for name, digest in record["files"].items():
        if not (folder / name).is_file() or hash_file(folder / name).sha256 != digest:
            return None
    said: dict[str, Any] = record["said"]
    return said


def put_file(made: Path, place: Path) -> None:
    """A finished file of a step under its name in the artifact: a link, so nothing is copied.

    It is copied where the file system has no links, or no more for this file.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(made, place)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK):
            raise
        shutil.copyfile(made, place)
