"""``final/``: the trained model, as its stage copies it. Whole or not there, by renames."""

from __future__ import annotations

import filecmp
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.llama import Llama
from model.weights import save_native
from tasks.context import atomic_write_json, fsync_directory


def write(model: Llama, summary: dict[str, Any], work: Path, hook: Callable[[str], None]) -> None:
    """Native weights, shape and a summary without times. On rank 0 only.

    hook is called with "weights", "summary", "aside" (another result was moved away) and "rename"
    after each of these is done; tests kill the process there.
    """
    for leftover in work.glob("tmp-final-*"):
        shutil.rmtree(leftover)
    temporary, aside = (work / f"tmp-final-{uuid.uuid4().hex}" for _ in range(2))
    temporary.mkdir()
    save_native(model, temporary)
    hook("weights")
    atomic_write_json(temporary / "summary.json", summary)
    hook("summary")
    final = work / "final"
    names = [path.name for path in temporary.iterdir()]
    if final.exists() and filecmp.cmpfiles(final, temporary, names, shallow=False)[0] == names:
        shutil.rmtree(temporary)  # there already, and perhaps being copied by its flow
        return
    if final.exists():
        final.rename(aside)
        hook("aside")
    temporary.rename(final)
    fsync_directory(work)
    hook("rename")
    if aside.exists():
        shutil.rmtree(aside)
