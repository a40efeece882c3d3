"""Checkpoints that are either whole or not there.

Form: a directory ``step-<n>`` with safetensors for model and optimizer, JSON for scalars, written
by rank 0 (under data parallelism the state is replicated) and readable at any world size. Chosen
over torch DCP for this first form: nothing in it is a pickle and each file can be read alone.

Commit: write into ``tmp-*``, fsync every file, write ``manifest.json`` (sha256 and size of each
file) last, fsync, rename. Older ones are deleted only after that. Loading walks back from the
newest to the first whose every byte is as its manifest says.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from tasks.context import atomic_write_json, fsync_directory
from tasks.training.engine.state import Tensors

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK = 16 * 1024 * 1024  # bytes hashed at a time

Hook = Callable[[str], None]


def _nothing(point: str) -> None:
    """Hook of a run in which nothing is injected."""


@dataclass(frozen=True)
class Refusal:
    """A checkpoint that was not loaded, and why (file by name)."""

    directory: Path
    reason: str


def directory_name(step: int) -> str:
    """Name of the checkpoint after ``step`` optimizer steps."""
    return f"step-{step:09d}"


def listed(root: Path) -> list[Path]:
    """Published checkpoint directories, oldest first; not verified."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.glob("step-*") if path.is_dir())


def save(
    root: Path,
    step: int,
    scalars: dict[str, Any],
    tensors: dict[str, Tensors],
    *,
    hook: Hook = _nothing,
    beat: Callable[[], None] = lambda: None,
) -> Path:
    """Publish one checkpoint and return its directory.

    hook is called with "files", "manifest" and "rename" after each of these is done; tests kill
    the process there.
    """
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f"tmp-{uuid.uuid4().hex}"
    temporary.mkdir()
    for stem, named in tensors.items():
        contiguous = {name: tensor.contiguous() for name, tensor in named.items()}
        save_file(contiguous, temporary / f"{stem}.safetensors")
        beat()
    atomic_write_json(temporary / "state.json", scalars)
    files = {}
    for path in sorted(temporary.iterdir()):
        _fsync_file(path)
        files[path.name] = {"sha256": _sha256(path, beat), "size": path.stat().st_size}
    hook("files")
    atomic_write_json(temporary / MANIFEST, {"format": FORMAT, "step": step, "files": files})
    hook("manifest")
    target = root / directory_name(step)
    if target.exists():  # refused by this or an earlier attempt: out of the way, then gone
        target.rename(root / f"tmp-{uuid.uuid4().hex}")
    temporary.rename(target)
    fsync_directory(root)
    hook("rename")
    return target


def problems(directory: Path, beat: Callable[[], None] = lambda: None) -> list[str]:
    """Why ``directory`` may not be loaded, naming the file; [] = every byte is as published."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        if manifest["format"] != FORMAT:
            return [f"{MANIFEST}: format {manifest['format']}, this version reads {FORMAT}"]
    except FileNotFoundError:
        return [f"{MANIFEST}: missing, the save was not finished"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST}: unreadable ({error})"]
    found = []
    for name, expected in sorted(files.items()):
        path = directory / name
        if not path.is_file():
            found.append(f"{name}: missing")
        elif path.stat().st_size != expected["size"]:
            found.append(f"{name}: {path.stat().st_size} bytes, published {expected['size']}")
        elif _sha256(path, beat) != expected["sha256"]:
            found.append(f"{name}: sha256 differs from the manifest, the file was changed")
    return found


def newest_valid(
    root: Path, beat: Callable[[], None] = lambda: None
) -> tuple[Path | None, list[Refusal]]:
    """The newest checkpoint that verifies, and the newer ones that were refused.

    A refused directory is renamed to ``refused-*``, so that it neither counts among the kept ones
    nor is tried again. Call it on one rank only.
    """
    refusals: list[Refusal] = []
    for directory in reversed(listed(root)):
        reasons = problems(directory, beat)
        if not reasons:
            return directory, refusals
        refusals.append(Refusal(directory, "; ".join(reasons)))
        directory.rename(root / f"refused-{directory.name}-{uuid.uuid4().hex[:8]}")
    return None, refusals


def load(directory: Path) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """Scalars and tensors of a checkpoint that ``newest_valid`` has verified."""
    scalars = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    stems = ("model", "optimizer")
    return scalars, {stem: load_file(directory / f"{stem}.safetensors") for stem in stems}


def prune(root: Path, *, keep_last: int, keep_every: int, hook: Hook = _nothing) -> list[Path]:
    """Delete what retention does not keep, after a publish; returns what was deleted.

    Keeps the newest ``keep_last`` and each whose step is a multiple of ``keep_every`` (0: none).
    hook is called with "prune" and "pruned" before and after each deletion.
    """
    old = listed(root)[:-keep_last]
    removed = []
    for directory in old:
        step = int(directory.name.removeprefix("step-"))
        if keep_every and step % keep_every == 0:
            continue
        # Renamed first: a kill in the middle of deleting must not leave half a checkpoint.
        doomed = root / f"tmp-{uuid.uuid4().hex}"
        directory.rename(doomed)
        hook("prune")
        shutil.rmtree(doomed)
        hook("pruned")
        removed.append(directory)
    return removed


def clear_leftovers(root: Path) -> None:
    """Delete temporary directories of saves that were killed. One rank, at start only."""
    for leftover in root.glob("tmp-*"):
        shutil.rmtree(leftover)


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path, beat: Callable[[], None] = lambda: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(CHUNK):
            digest.update(block)
            beat()
    return digest.hexdigest()
