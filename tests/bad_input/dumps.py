"""Dumps that cannot be read, one way of each kind, made here byte by byte."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
from pathlib import Path

# What is left of a line of noise: no compressor and no parser knows its first bytes.
NOISE = bytes((i * 197 + 83) % 251 for i in range(5000))
PARAGRAPH = (
    "The station keeper wrote down the hour of every train that passed, and in winter he also"
    " wrote down the depth of the snow beside the second platform. "
)


def text_of(number: int) -> str:
    """A text that passes every source's filters; another number, another text."""
    return "\n".join(f"{PARAGRAPH}Entry {number}, line {line}." for line in range(12))


def warc(texts: list[str]) -> bytes:
    """A gzip WET file, one member per record."""
    out = io.BytesIO()
    for number, text in enumerate(texts):
        body = text.encode()
        head = (
            "WARC/1.0\r\nWARC-Type: conversion\r\n"
            f"WARC-Target-URI: http://example.org/{number}\r\n"
            "WARC-Date: 2022-07-01T00:00:00Z\r\n"
            f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012d}>\r\n"
            f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        out.write(gzip.compress(head + body + b"\r\n\r\n", mtime=0))
    return out.getvalue()


def wiki(pages: list[str]) -> bytes:
    """A bzip2 MediaWiki dump."""
    rows = "".join(
        f"<page><title>P{n}</title><ns>0</ns><id>{n}</id><revision><id>{n}</id>"
        f"<timestamp>2022-07-01T00:00:00Z</timestamp><text>{text}</text></revision></page>"
        for n, text in enumerate(pages)
    )
    return bz2.compress(f"<mediawiki>{rows}</mediawiki>".encode())


def tar(members: dict[str, bytes]) -> bytes:
    """A plain tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def gzip_bomb(unpacked: int) -> bytes:
    """About ``unpacked`` bytes of zeros in a thousandth of that."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as handle:
        chunk = b"0" * (1 << 20)
        for _ in range(unpacked >> 20):
            handle.write(chunk)
    return out.getvalue()


def half(data: bytes) -> bytes:
    """What a broken download leaves."""
    return data[: len(data) // 2]


def put(root: Path, source: str, name: str, data: bytes) -> str:
    """Write a file of a source; its path relative to the data folder."""
    path = root / "corpus" / source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path.relative_to(root).as_posix()
