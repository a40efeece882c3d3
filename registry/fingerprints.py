"""Fingerprints of raw dumps: path, size and sha256 of every file, without hashing it twice.

The stat index remembers the hash of (absolute path, size, mtime, inode). A file whose four are
unchanged is not read again, so a cached run does not re-hash terabytes. Who reads the files later
makes sure with stamps, before and after, that they are still those that were listed.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from registry.database import Registry
from registry.files import hash_file, native_name, portable_name
from registry.schema import Fingerprint

FINGERPRINTS = "files.jsonl"  # of a raw artifact: a RawFile per line
BATCH = 200  # index rows written per transaction, so that a killed run keeps what it hashed
QUERY = 500  # paths per query, under SQLite's limit of bound parameters
SETTLED_NS = 2_000_000_000  # a younger file may still change within its time stamp's resolution


class RawFile(BaseModel):
    """One file of a raw dump. ``path`` is relative to the dump's root, posix, as `portable_name`
    writes it; size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: int
    sha256: str


class RawFilesChanged(ValueError):
    """Raw files are no longer those that were fingerprinted; names them."""


@dataclass(frozen=True)
class Stamp:
    """What a listed file's stat was when its content was known to be the one listed.

    path: as its readers open it, through whatever links.
    real: the file that it led to.
    settled: old enough then that any later change shows in the stat.
    """

    file: RawFile
    path: Path
    real: Path
    stat: tuple[int, int, int]
    settled: bool


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
    known = _known(registry, [portable_name(str(path)) for _, path in found])
    total = sum(path.stat().st_size for _, path in found)
    done = 0
    result: list[RawFile] = []
    fresh: list[Fingerprint] = []
    for name, path in found:
        row, is_new = _fingerprint_one(path, known.get(portable_name(str(path))), clock_ns())
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


def read_listing(path: Path) -> list[RawFile]:
    """Files of a raw artifact's listing; rows with an address (``pypi:...``) are none."""
    return [row for row in read_rows(path) if not is_address(row.path)]


def read_rows(path: Path) -> list[RawFile]:
    """All rows of a raw artifact's listing."""
    with path.open(encoding="utf-8") as handle:  # not splitlines: names may hold U+2028
        return [RawFile.model_validate_json(line) for line in handle]


def is_address(path: str) -> bool:
    """Whether a row of a listing is no file of the data folder (``pypi:name==version``)."""
    return ":" in path.partition("/")[0]


def stamp_files(
    root: Path,
    files: Sequence[RawFile],
    registry: Registry,
    *,
    clock_ns: Callable[[], int] = time.time_ns,
) -> list[Stamp]:
    """Stamps of listed files under ``root``, for `require_unchanged` after they were read.

    Raises ``RawFilesChanged`` when one is gone or holds something else than what is listed.
    """
    paths = [root / native_name(file.path) for file in files]
    reals = [_real(path) for path in paths]
    known = _known(registry, [portable_name(str(real)) for real in reals])
    stamps, changed, fresh = [], [], []
    for file, path, real in zip(files, paths, reals, strict=True):
        if not real.is_file():
            changed.append(f"{file.path} (gone)")
            continue
        now_ns = clock_ns()
        row, is_new = _fingerprint_one(real, known.get(portable_name(str(real))), now_ns)
        if is_new:
            fresh.append(row)
        if row.sha256 != file.sha256:
            changed.append(file.path)
        stat = (row.size, row.mtime_ns, row.inode)
        stamps.append(Stamp(file, path, real, stat, now_ns - row.mtime_ns >= SETTLED_NS))
    _remember(registry, fresh)
    _refuse(changed)
    return stamps


def require_unchanged(stamps: Sequence[Stamp]) -> None:
    """Raise ``RawFilesChanged`` when a file was written, replaced or removed since its stamp, or
    a link on the way to it points elsewhere."""
    changed = []
    for stamp in stamps:
        if not stamp.path.is_file():
            changed.append(f"{stamp.file.path} (gone)")
        elif (_real(stamp.path), _stat(stamp.path)) != (stamp.real, stamp.stat) or (
            not stamp.settled and hash_file(stamp.path).sha256 != stamp.file.sha256
        ):
            changed.append(stamp.file.path)
    _refuse(changed)


def _refuse(changed: Sequence[str]) -> None:
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise RawFilesChanged(
            f"raw files changed since they were fingerprinted: {', '.join(changed[:5])}{more}."
            " Nothing was published. Wait until nothing writes to the data folder, then start the"
            " flow again: they are fingerprinted anew."
        )


def _real(path: Path) -> Path:
    """Where a path leads; one that leads in a circle (`Path.resolve` raises then) to itself."""
    return Path(os.path.realpath(path))


def _stat(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """(relative posix path, real path) of the files; ``root`` is resolved."""
    for folder, folders, names in os.walk(root, onerror=_raise):
        folders.sort()
        for name in (*names, *folders):
            path = Path(folder) / name
            real = _real(path) if path.is_symlink() else path
            if not real.exists() or not real.is_relative_to(root):
                warnings.warn(f"{path} leads to {real}, not into the dump: left out", stacklevel=3)
            elif real.is_file():
                yield portable_name(path.relative_to(root).as_posix()), real


def _fingerprint_one(
    path: Path, known: Fingerprint | None, now_ns: int
) -> tuple[Fingerprint, bool]:
    """The row of a file, and whether it must be remembered."""
    stamp = _stat(path)
    name = portable_name(str(path))
    if known is not None and (known.size, known.mtime_ns, known.inode) == stamp:
        return known, False
    try:
        entry = hash_file(path)
    except OSError as error:
        raise ValueError(
            f"{name}: cannot be read ({error.strerror}); repair or remove the file"
        ) from error
    if _stat(path) != stamp or entry.size != stamp[0]:
        raise ValueError(f"{name}: changed while it was read; wait until the dump is complete")
    size, mtime_ns, inode = stamp
    row = Fingerprint(path=name, size=size, mtime_ns=mtime_ns, inode=inode, sha256=entry.sha256)
    # A file changed a moment ago could change again without a new time stamp.
    return row, now_ns - mtime_ns >= SETTLED_NS


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
