"""Numbered lines of plain, gzip and zstd files, each bounded; what cannot be read is counted."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from tasks.corpus.funnel import Funnel
from tasks.corpus.sources import damage

MAX_LINE_BYTES = 16_000_000
NAMES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".json.zst", ".jsonl.zst")
_READ = 1 << 20
# A small step: what a kilobyte of zstd unpacks to is bounded, to 32 MB.
_ZSTD_STEP = 1 << 10


class _Broken(Exception):
    """The file cannot be read further."""


def numbered_lines(path: Path, name: str, funnel: Funnel) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers (from 1), blank ones left out.

    A line that is too long costs itself; a break in the file what follows it.

    Raises:
        ValueError: the file is packed with zstd, and zstandard is not installed.
    """
    number = 0
    held: list[bytes] = []
    size = 0
    try:
        for data in _chunks(path):
            *whole, rest = data.split(b"\n")
            for part in whole:
                number += 1
                if size + len(part) > MAX_LINE_BYTES:
                    funnel.place = (name, number)
                    funnel.reject("read", "line too long", "", f"{name}#{number}")
                elif line := b"".join([*held, part]).strip():
                    yield number, line
                held, size = [], 0
            size += len(rest)
            held = [*held, rest] if size <= MAX_LINE_BYTES else []
        if size > MAX_LINE_BYTES:
            funnel.place = (name, number + 1)
            funnel.reject("read", "line too long", "", f"{name}#{number + 1}")
        elif line := b"".join(held).strip():
            yield number + 1, line
    except _Broken as broken:
        funnel.place = (name, number + 1)
        funnel.bad_file(name, str(broken), f"line {number + 1}")


def _chunks(path: Path) -> Iterator[bytes]:
    lower = path.name.lower()
    if lower.endswith(".gz"):
        yield from _gzip_chunks(path)
    elif lower.endswith(".zst"):
        yield from _zstd_chunks(path)
    else:
        with path.open("rb") as handle:
            while data := handle.read(_READ):
                yield data


def _gzip_chunks(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as handle:
        while True:
            try:
                # read1: what was unpacked before a break is given, not lost with it.
                data = handle.read1(_READ)
            except damage.PACKED as error:
                raise _Broken(f"{damage.kind(error)} gzip") from error
            if not data:
                return
            yield data


def _zstd_chunks(path: Path) -> Iterator[bytes]:
    try:
        zstandard = import_module("zstandard")
    except ImportError as error:
        raise ValueError(
            f"{path.name} is packed with zstd: pip install zstandard, or unpack it."
        ) from error
    with path.open("rb") as handle:
        unpack = None
        while data := handle.read(_ZSTD_STEP):
            while data:
                unpack = unpack or zstandard.ZstdDecompressor().decompressobj()
                try:
                    unpacked = unpack.decompress(data)
                except zstandard.ZstdError as error:
                    raise _Broken("corrupt zstd") from error
                if unpacked:
                    yield unpacked
                data = unpack.unused_data if unpack.eof else b""
                unpack = None if unpack.eof else unpack
        if unpack is not None:
            raise _Broken("truncated zstd")
