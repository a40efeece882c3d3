"""Checkpoints that are either whole or not there, written in pieces by all processes.

Form: a directory ``step-<n>`` with safetensors for model and optimizer, one of each per process
that holds a part, JSON for scalars. ``manifest.json`` names every file's sha256 and size, and which
rows of each tensor lie in which file, so any number of processes, sharded or not, can read it.
Nothing in it is a pickle (torch's own distributed checkpoints have one) and each file can be read
alone.

Commit: every process writes and fsyncs its files and then ``part-<rank>.json`` about them; when all
have done so, the first process joins these to the manifest, fsyncs, renames. Older ones are deleted
only after that. Loading walks back from the newest to the first whose every byte is as its manifest
says and whose pieces make up every tensor.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tasks.context import atomic_write_json, fsync_directory
from tasks.training.engine.pieces import Piece

FORMAT = 2
MANIFEST = "manifest.json"
TEMPORARY = "temporary"  # a file of this name: gone as soon as a newer checkpoint is there
CHUNK = 16 * 1024 * 1024  # bytes hashed at a time

Hook = Callable[[str], None]
Held = Mapping[str, Mapping[str, tuple[torch.Tensor, Piece]]]  # file stem -> name -> what and where


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


def temporary_name(step: int, attempt: str = "") -> str:
    """Where the checkpoint of ``step`` is written: the same for all processes of an attempt.

    Another attempt's may still be written by one that nobody could kill yet.
    """
    return f"tmp-{directory_name(step)}-{attempt}"


def listed(root: Path) -> list[Path]:
    """Published checkpoint directories, oldest first; not verified."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.glob("step-*") if path.is_dir())


def write_part(
    temporary: Path,
    rank: int,
    held: Held,
    *,
    hook: Hook = _nothing,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Write this process's pieces into ``temporary`` and then say so.

    hook is called with "begun" when the directory is there, "file" after each file's bytes, "files"
    when all are on the disk; tests kill the process there.

    Raises:
        OSError, SafetensorError: the store could not take it.
    """
    temporary.mkdir(parents=True, exist_ok=True)
    hook("begun")
    files: dict[str, dict[str, Any]] = {}
    pieces: dict[str, dict[str, Any]] = {}
    for stem, named in held.items():
        if not named:
            continue
        name = f"{stem}-{rank:05d}.safetensors"
        save_file(
            {key: tensor.contiguous() for key, (tensor, _) in named.items()}, temporary / name
        )
        beat()
        hook("file")
        files[name] = _described(temporary / name, beat)
        pieces[stem] = {
            key: {"shape": list(piece.shape), "start": piece.start, "rows": piece.rows}
            for key, (_, piece) in named.items()
        }
    hook("files")
    atomic_write_json(temporary / _part(rank), {"files": files, "pieces": pieces})


def commit(
    root: Path,
    step: int,
    scalars: dict[str, Any],
    world: int,
    *,
    attempt: str = "",
    temporary_one: bool = False,
    hook: Hook = _nothing,
) -> Path:
    """Publish what ``world`` processes have written for ``step``; returns its directory.

    temporary_one: it may go as soon as a newer one is there. hook: "manifest" and "rename".
    """
    temporary = root / temporary_name(step, attempt)
    files: dict[str, Any] = {}
    tensors: dict[str, dict[str, Any]] = {}
    for rank in range(world):
        path = temporary / _part(rank)
        part = json.loads(path.read_text(encoding="utf-8"))
        files |= part["files"]
        for stem, named in part["pieces"].items():
            for name, piece in named.items():
                entry = tensors.setdefault(stem, {}).setdefault(
                    name, {"shape": piece["shape"], "pieces": []}
                )
                assert entry["shape"] == piece["shape"], f"{name}: processes differ in its shape"
                file = f"{stem}-{rank:05d}.safetensors"
                entry["pieces"].append([piece["start"], piece["rows"], file])
        path.unlink()
    atomic_write_json(temporary / "state.json", scalars)
    files["state.json"] = _described(temporary / "state.json")
    if temporary_one:
        (temporary / TEMPORARY).touch()
    manifest = {
        "format": FORMAT,
        "step": step,
        "files": dict(sorted(files.items())),
        "tensors": tensors,
    }
    atomic_write_json(temporary / MANIFEST, manifest)
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
        manifest = read_manifest(directory)
        files = manifest["files"]
        if manifest["format"] != FORMAT:
            return [f"{MANIFEST}: format {manifest['format']}, this version reads {FORMAT}"]
        found = _gaps(manifest["tensors"])
    except FileNotFoundError:
        return [f"{MANIFEST}: missing, the save was not finished"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{MANIFEST}: unreadable ({error})"]
    for name, expected in sorted(files.items()):
        path = directory / name
        if not path.is_file():
            found.append(f"{name}: missing")
        elif path.stat().st_size != expected["size"]:
            found.append(f"{name}: {path.stat().st_size} bytes, published {expected['size']}")
        elif _sha256(path, beat) != expected["sha256"]:
            found.append(f"{name}: sha256 differs from the manifest, the file was changed")
    return found


def _gaps(tensors: dict[str, dict[str, Any]]) -> list[str]:
    """Tensors of which some row is in no piece, or in two."""
    found = []
    for stem, named in tensors.items():
        for name, entry in named.items():
            rows, at = (entry["shape"] or [1])[0], 0
            for start, count, _ in sorted(entry["pieces"]):
                at = at + count if start == at else -1
            if at != rows:
                found.append(f"{MANIFEST}: the pieces of {stem} {name} do not make up {rows} rows")
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


def read_manifest(directory: Path) -> dict[str, Any]:
    """``manifest.json`` of a checkpoint."""
    manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    return manifest


class Reader:
    """Scalars and rows of tensors of a checkpoint that ``newest_valid`` has verified.

    Files are opened when a row of theirs is wanted: a process reads its part and no more.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tensors = read_manifest(directory)["tensors"]
        self._open: dict[str, Any] = {}
        self.scalars: dict[str, Any] = json.loads((directory / "state.json").read_text("utf-8"))

    def names(self, stem: str) -> list[str]:
        """Names of the tensors of ``stem``."""
        return list(self._tensors.get(stem, {}))

    def shape(self, stem: str, name: str) -> tuple[int, ...]:
        """Shape of the whole tensor."""
        return tuple(self._tensors[stem][name]["shape"])

    def read(self, stem: str, name: str, wanted: Piece | None = None) -> torch.Tensor:
        """The wanted rows (default: all) as a tensor of memory that torch allocated.

        Kernels choose their vector path by alignment: a mapped file's would change the last bit.
        """
        shape = self.shape(stem, name)
        if not shape:
            (_, _, file), *_ = self._tensors[stem][name]["pieces"]
            scalar: torch.Tensor = self._handle(file).get_tensor(name).clone()
            return scalar
        start, rows = (wanted.start, wanted.rows) if wanted else (0, shape[0])
        made: torch.Tensor | None = None
        for first, count, file in self._tensors[stem][name]["pieces"]:
            begin, end = max(start, first), min(start + rows, first + count)
            if begin >= end:
                continue
            part = self._handle(file).get_slice(name)[begin - first : end - first]
            if made is None:
                made = torch.empty((rows, *shape[1:]), dtype=part.dtype)
            made[begin - start : end - start] = part
        return torch.empty((0, *shape[1:])) if made is None else made

    def _handle(self, file: str) -> Any:
        if file not in self._open:
            self._open[file] = safe_open(self._directory / file, framework="pt")
        return self._open[file]


def prune(root: Path, *, keep_last: int, keep_every: int, hook: Hook = _nothing) -> list[Path]:
    """Delete older checkpoints: not the newest ``keep_last``, not every ``keep_every``-th step.

    Temporary ones do not count, and go when a newer one is there.
    """
    directories = listed(root)
    lasting = [d for d in directories if not (d / TEMPORARY).exists()]
    kept = {*lasting[-keep_last:], *directories[-1:]}
    kept |= {d for d in lasting if keep_every and _step(d) % keep_every == 0}
    removed = []
    for directory in directories:
        if directory in kept:
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
        # One that is still written to, by a process on another machine, goes with the next start.
        shutil.rmtree(leftover, ignore_errors=True)


def _part(rank: int) -> str:
    return f"part-{rank:05d}.json"


def _step(directory: Path) -> int:
    return int(directory.name.removeprefix("step-"))


def _described(path: Path, beat: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """sha256 and size of a file that is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return {"sha256": _sha256(path, beat), "size": path.stat().st_size}


def _sha256(path: Path, beat: Callable[[], None] = lambda: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(CHUNK):
            digest.update(block)
            beat()
    return digest.hexdigest()
