"""Whether a step is done for a shard: its folder is there, and whole."""

from __future__ import annotations

import json
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
