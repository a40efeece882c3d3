"""Byte-deterministic files and archives: no clock, user, host or order of a folder gets in."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

EPOCH = datetime(2022, 7, 1, tzinfo=UTC)  # date of the sample "dump"; inside the paper's range


@dataclass(frozen=True)
class SourceReport:
    """What was written for one source."""

    documents: int
    characters: int  # of text, before markup and compression


def moment(number: int, *, minutes: int = 7) -> datetime:
    """The fixed time of the `number`-th record, counted from `EPOCH`."""
    return EPOCH + timedelta(minutes=minutes * number)


def write_bytes(path: Path, payload: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(payload)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def gzip_bytes(payload: bytes, level: int = 6) -> bytes:
    """A gzip member without file name and modification time."""
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=level, fileobj=buffer, mtime=0) as stream:
        stream.write(payload)
    return buffer.getvalue()


def tar_bytes(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A POSIX tar of regular files owned by nobody in particular, dated `EPOCH`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, payload in members:
            information = tarfile.TarInfo(name)
            information.size = len(payload)
            information.mtime = int(EPOCH.timestamp())
            information.mode = 0o644
            archive.addfile(information, io.BytesIO(payload))
    return buffer.getvalue()
