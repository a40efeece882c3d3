"""Damage of the data is counted; an error of the machine is raised by every reader, never counted.

The machine's errors are made by a file that fails from a byte on, as a disk or a share does, by a
folder in a file's place, and by a process that may open no more files.
"""

from __future__ import annotations

import builtins
import bz2
import errno
import gzip
import io
import json
import lzma
import os
import resource
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import py7zr
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import (
    arxiv,
    bigquery,
    books,
    c4,
    commoncrawl,
    damage,
    github,
    responses,
    stackexchange,
    wikipedia,
)
from tests.tasks.corpus.crawl import arc, http, record, wet

# Compresses little, so that a damaged byte lies inside every packed file.
NOISE = " ".join(str(number * 7919 % 10_007) for number in range(6000))
MIT = b"Permission is hereby granted, free of charge, to any person ... sublicense, and/or sell"
LATEX = rb"\documentclass{a}\begin{document}\section{One}" + NOISE.encode() + rb"\end{document}"
LINE = json.dumps({"text": NOISE}).encode() + b"\n"


def tar(mode: str, members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    opened: Any = tarfile.open
    with opened(fileobj=packed, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def dump() -> bytes:
    page = f"<page><title>A</title><ns>0</ns><id>1</id><revision><text>{NOISE}</text></revision>"
    return f"<mediawiki xml:lang='en'>{page}</page></mediawiki>".encode()


def posts_7z() -> bytes:
    packed = io.BytesIO()
    with py7zr.SevenZipFile(packed, "w") as archive:
        row = f'<row Id="1" PostTypeId="1" Score="1" Body="{NOISE}" />'
        archive.writestr(f"<posts>{row}</posts>".encode(), "Posts.xml")
    return packed.getvalue()


def page() -> bytes:
    return record("http://e.org/1", http(f"<html><body><p>{NOISE}</p></body></html>".encode()))


def parquet() -> bytes:
    packed = io.BytesIO()
    rows = [{"content": NOISE, "path": "a.py", "license": "mit"}]
    pq.write_table(pa.Table.from_pylist(rows), packed)
    return packed.getvalue()


PROJECT = {"p/a.py": b"x = '" + NOISE.encode() + b"'\n", "p/LICENSE": MIT}
BOOK = NOISE.encode()
# Source, name and bytes of a file for every way in which one is read.
FILES: dict[str, tuple[Any, Callable[[], bytes]]] = {
    "a.tar": (arxiv, lambda: tar("w", {"1/0001.gz": gzip.compress(LATEX)})),
    "b.tar.gz": (arxiv, lambda: tar("w:gz", {"1/0001": LATEX})),
    "c.tar.bz2": (arxiv, lambda: tar("w:bz2", {"1/0001": LATEX})),
    "d.tar.xz": (arxiv, lambda: tar("w:xz", {"1/0001": LATEX})),
    "0001.gz": (arxiv, lambda: gzip.compress(LATEX)),
    "p.tar": (github, lambda: tar("w", PROJECT)),
    "q.tar.gz": (github, lambda: tar("w:gz", PROJECT)),
    "r.tar.bz2": (github, lambda: tar("w:bz2", PROJECT)),
    "s.tar.xz": (github, lambda: tar("w:xz", PROJECT)),
    "t.zip": (github, lambda: zipped(PROJECT)),
    "u.jsonl": (github, lambda: LINE),
    "v.jsonl.gz": (github, lambda: gzip.compress(LINE)),
    "a.txt": (books, lambda: BOOK),
    "b.txt.gz": (books, lambda: gzip.compress(BOOK)),
    "c.zip": (books, lambda: zipped({"a.txt": BOOK})),
    "a.json": (c4, lambda: LINE),
    "b.json.gz": (c4, lambda: gzip.compress(LINE)),
    "a.warc": (commoncrawl, page),
    "b.warc.gz": (commoncrawl, lambda: gzip.compress(page())),
    "c.warc.wet.gz": (commoncrawl, lambda: gzip.compress(wet("http://e.org/1", NOISE))),
    "d.arc.gz": (commoncrawl, lambda: gzip.compress(arc("http://e.org/1", http(BOOK)))),
    "e.warc.gz": (c4, lambda: gzip.compress(page())),
    "a.org.7z": (stackexchange, posts_7z),
    "b.org/Posts.xml": (stackexchange, lambda: b"<posts>" + NOISE.encode()),
    "c.jsonl.gz": (stackexchange, lambda: gzip.compress(LINE)),
    "enwiki.xml": (wikipedia, dump),
    "enwiki.xml.gz": (wikipedia, lambda: gzip.compress(dump())),
    "enwiki.xml.bz2": (wikipedia, lambda: bz2.compress(dump())),
}
PACKED = sorted(name for name in FILES if name.endswith((".gz", ".bz2", ".xz", ".zip", ".7z")))


def read(root: Path, name: str) -> Funnel:
    """What was counted of a file."""
    source = FILES[name][0]
    funnel = Funnel(source.__name__.rpartition(".")[2])
    list(source.read(root, [name], CorpusParameters(), funnel))
    return funnel


@pytest.fixture(params=sorted(FILES))
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, bytes]:
    """Root, name and bytes of a file that was written."""
    name = request.param
    data = FILES[name][1]()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)
    return tmp_path, name, data


class FailingFile(io.FileIO):
    """A file whose bytes from ``whole`` on cannot be read: ``number`` is the machine's error."""

    def __init__(self, path: str | Path, whole: int, number: int) -> None:
        super().__init__(path)
        self._whole = whole
        self._number = number

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        left = self._whole - self.tell()
        if left <= 0:
            raise OSError(self._number, os.strerror(self._number))
        return os.read(self.fileno(), min(left, size))

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(1 << 16), b""))


def fail(monkeypatch: pytest.MonkeyPatch, path: Path, whole: int, number: int) -> None:
    """Let ``path``, however it is opened for reading, fail from byte ``whole`` on."""
    opened = io.open

    def opener(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if isinstance(file, (str, Path)) and Path(file) == path and mode == "rb":
            return io.BufferedReader(FailingFile(file, whole, number))
        return opened(file, mode, *rest, **options)

    for module, name in ((io, "open"), (builtins, "open"), (bz2, "_builtin_open")):
        monkeypatch.setattr(module, name, opener)

    def low_level(name: Any, mode: str) -> FailingFile:
        return FailingFile(name, whole, number)

    monkeypatch.setattr(tarfile, "_LowLevelFile", low_level)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_an_error_of_the_machine_while_reading_is_raised(
    stored: tuple[Path, str, bytes], monkeypatch: pytest.MonkeyPatch, share: float, number: int
) -> None:
    root, name, data = stored
    fail(monkeypatch, root / name, int(len(data) * share), number)
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        read(root, name)
    assert raised.value.errno == number


def test_a_folder_in_the_place_of_a_file_is_raised(stored: tuple[Path, str, bytes]) -> None:
    root, name, _ = stored
    (root / name).unlink()
    (root / name).mkdir()
    (root / name / "some").mkdir()  # it has a size, on every file system
    with pytest.raises(IsADirectoryError):
        read(root, name)


def test_a_file_that_vanished_is_raised(stored: tuple[Path, str, bytes]) -> None:
    root, name, _ = stored
    (root / name).unlink()
    with pytest.raises(FileNotFoundError):
        read(root, name)


@pytest.mark.parametrize("name", ["t.zip", "a.tar", "b.json.gz", "a.org.7z", "enwiki.xml.bz2"])
def test_a_process_that_may_open_no_more_files_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name][1]())
    read(tmp_path, name)  # what is imported when it is used is imported
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        with pytest.raises(OSError) as raised:
            while True:
                held.append(os.open(tmp_path, os.O_RDONLY))
        assert raised.value.errno == errno.EMFILE
        with pytest.raises(OSError) as raised:
            read(tmp_path, name)
        assert raised.value.errno == errno.EMFILE
    finally:
        for handle in held:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_parquet_that_cannot_be_read_is_raised_and_damage_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(root: Path) -> tuple[int, list[str]]:
        funnel = Funnel("github")
        found = list(bigquery.records(root / "a.parquet", "a.parquet", funnel))
        return len(found), [row["reason"] for row in funnel.bad_files]

    data = parquet()
    (tmp_path / "a.parquet").write_bytes(data)
    assert rows(tmp_path) == (1, [])
    for damaged in (data[:-20], data[:400], b"PAR1", b"x" + bytes(range(256)) * 9):
        (tmp_path / "a.parquet").write_bytes(damaged)
        assert rows(tmp_path) == (0, ["corrupt Parquet"])
    for at in range(4, len(data) - 8, 997):
        (tmp_path / "a.parquet").write_bytes(data[:at] + b"\xff" * 9 + data[at + 9 :])
        rows(tmp_path)

    def broken(*_: object, **__: object) -> Iterator[pa.RecordBatch]:
        raise OSError(errno.EIO, "Error reading bytes from file")

    (tmp_path / "a.parquet").write_bytes(data)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", broken)
    with pytest.raises(OSError, match="reading bytes"):
        rows(tmp_path)


@pytest.mark.parametrize("name", PACKED)
def test_a_file_that_is_cut_short_or_corrupt_is_counted(tmp_path: Path, name: str) -> None:
    data = FILES[name][1]()
    middle = len(data) // 2
    broken = data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 64])
    for damaged in (data[:middle], broken + data[middle + 64 :]):
        (tmp_path / name).write_bytes(damaged)
        found = read(tmp_path, name).entries["read"].rejected
        # bzip2 knows only at a block's end that what it gave is not what was packed.
        kinds = ("truncated ", "corrupt ", "malformed XML")
        assert any(reason.startswith(kinds) for reason in found), found


def test_a_place_before_the_file_is_damage(tmp_path: Path) -> None:
    """The list of a zip says that it begins later than it does: seeking gives EINVAL."""
    data = bytearray(zipped({"a.txt": BOOK, "p/LICENSE": MIT, "p/a.py": b"x = 1\n"}))
    end = data.index(b"PK\x05\x06")
    (start,) = struct.unpack_from("<I", data, end + 16)
    struct.pack_into("<I", data, end + 16, start + 50)
    (tmp_path / "c.zip").write_bytes(data)
    (tmp_path / "t.zip").write_bytes(data)
    assert "corrupt archive" in read(tmp_path, "c.zip").entries["read"].rejected
    assert read(tmp_path, "t.zip").entries["read"].rejected["corrupt member"] == 1


@pytest.mark.parametrize("kind", [responses.read_response, responses.read_arc_response])
def test_a_response_that_does_not_unpack_is_none(kind: Callable[[bytes], object]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/html\r\n\r\n"
    line = b"http://a.org/ 1.2.3.4 20200101000000 text/html %d\n"
    body = head + gzip.compress(BOOK)[:10] + b"\xff" * 99
    whole = body if kind is responses.read_response else line % len(body) + body
    assert kind(whole) is None


def test_kinds_of_damage() -> None:
    assert damage.kind(EOFError()) == "truncated"
    for error in (gzip.BadGzipFile("no"), OSError("no"), OSError(errno.EINVAL, "no"),
                  lzma.LZMAError(), tarfile.ReadError(), zipfile.BadZipFile()):  # fmt: skip
        assert damage.kind(error) == "corrupt"
    for number in (errno.EIO, errno.ENOSPC, errno.EACCES, errno.ENOENT, errno.ENOMEM):
        with pytest.raises(OSError) as raised:
            damage.kind(OSError(number, os.strerror(number)))
        assert raised.value.errno == number


@pytest.mark.parametrize("lack", [MemoryError("no"), pa.ArrowMemoryError("malloc of 9 failed")])
def test_a_lack_of_memory_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lack: Exception
) -> None:
    def short(*_: object, **__: object) -> Iterator[pa.RecordBatch]:
        raise lack

    with pytest.raises(MemoryError):
        damage.kind(lack)
    renamed = ValueError("renamed")
    renamed.__cause__ = lack
    with pytest.raises(MemoryError):
        damage.kind(renamed)
    (tmp_path / "a.parquet").write_bytes(parquet())
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", short)
    with pytest.raises(MemoryError):
        list(bigquery.records(tmp_path / "a.parquet", "a.parquet", Funnel("github")))
    (tmp_path / "a.org.7z").write_bytes(posts_7z())
    monkeypatch.setattr(py7zr.SevenZipFile, "extract", short)
    with pytest.raises(MemoryError):
        read(tmp_path, "a.org.7z")


def test_an_error_of_the_machine_that_a_library_renamed_is_raised() -> None:
    """As zipfile does, which takes a file whose end cannot be read for no zip file."""
    cause = OSError(errno.EIO, "disk")

    class Unreadable(io.BytesIO):
        def seek(self, *_: Any) -> int:
            return 100

        def read(self, *_: Any) -> bytes:
            raise cause

    try:
        zipfile.ZipFile(Unreadable())
    except zipfile.BadZipFile as error:
        with pytest.raises(OSError) as raised:
            damage.kind(error)
    assert raised.value is cause
