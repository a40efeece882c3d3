"""Fingerprints of raw dumps: path, size and sha256 of every file, without hashing it twice.

The stat index remembers the hash of (absolute path, size, mtime, inode). A file whose four are
unchanged is not read again, so a cached run does not re-hash terabytes.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from registry.database import Registry
from registry.files import hash_file
from registry.schema import Fingerprint

BATCH = 200  # index rows written per transaction, so that a killed run keeps what it hashed
QUERY = 500  # paths per query, under SQLite's limit of bound parameters
SETTLED_NS = 2_000_000_000  # a younger file may still change within its time stamp's resolution


class RawFile(BaseModel):
    """One file of a raw dump. ``path`` is relative to the dump's root, posix; size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: int
    sha256: str


def fingerprint(
    root: Path,
    registry: Registry,
    progress: Callable[[float, str], None] | None = None,
    *,
    clock_ns: Callable[[], int] = time.time_ns,
) -> list[RawFile]:
    """Every regular file under ``root``, sorted by path.

    Links are followed only to files inside ``root``; one that leads out or nowhere is left out
    with a warning (a link to a folder inside adds nothing). ``progress(fraction of bytes, line)``.
    Raises ``ValueError`` when ``root`` is no folder or a file cannot be read.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; name the folder that holds the raw dump")
    base = root.resolve()
    found = sorted(_walk(base), key=lambda pair: pair[0])
    known = _known(registry, [str(path) for _, path in found])
    total = sum(path.stat().st_size for _, path in found)
    done = 0
    result: list[RawFile] = []
    fresh: list[Fingerprint] = []
    for name, path in found:
        row, is_new = _fingerprint_one(path, known.get(str(path)), clock_ns())
        if is_new:
            fresh.append(row)
        if len(fresh) >= BATCH:
            _remember(registry, fresh)
            fresh = []
        result.append(RawFile(path=name, size=row.size, sha256=row.sha256))
        done += row.size
        if progress is not None and is_new:
            progress(done / total if total else 1.0, f"fingerprint {name}")
    _remember(registry, fresh)
    return result


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """(relative posix path, real path) of the files; ``root`` is resolved."""
    for folder, folders, names in os.walk(root, onerror=_raise):
        folders.sort()
        for name in (*names, *folders):
            path = Path(folder) / name
            real = path.resolve() if path.is_symlink() else path
            if not real.exists() or not real.is_relative_to(root):
                warnings.warn(f"{path} leads to {real}, not into the dump: left out", stacklevel=3)
            elif real.is_file():
                yield path.relative_to(root).as_posix(), real


def _fingerprint_one(
    path: Path, known: Fingerprint | None, now_ns: int
) -> tuple[Fingerprint, bool]:
    """The row of a file, and whether it must be remembered."""
    before = path.stat()
    stamp = (before.st_size, before.st_mtime_ns, before.st_ino)
    if known is not None and (known.size, known.mtime_ns, known.inode) == stamp:
        return known, False
    try:
        entry = hash_file(path)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); repair or remove the file"
        ) from error
    after = path.stat()
    if (after.st_size, after.st_mtime_ns, after.st_ino) != stamp or entry.size != after.st_size:
        raise ValueError(f"{path}: changed while it was read; wait until the dump is complete")
    row = Fingerprint(
        path=str(path),
        size=entry.size,
        mtime_ns=after.st_mtime_ns,
        inode=after.st_ino,
        sha256=entry.sha256,
    )
    # A file changed a moment ago could change again without a new time stamp.
    return row, now_ns - after.st_mtime_ns >= SETTLED_NS


def _known(registry: Registry, paths: Sequence[str]) -> dict[str, Fingerprint]:
    rows: dict[str, Fingerprint] = {}
    with registry.reading() as session:
        for start in range(0, len(paths), QUERY):
            part = paths[start : start + QUERY]
            query = select(Fingerprint).where(Fingerprint.path.in_(part))
            rows.update({row.path: row for row in session.scalars(query)})
    return rows


def _remember(registry: Registry, rows: Sequence[Fingerprint]) -> None:
    if not rows:
        return
    with registry.session() as session:
        for row in rows:
            session.merge(row)


def _raise(error: OSError) -> None:
    raise ValueError(f"{error.filename}: cannot be read ({error.strerror})") from error
