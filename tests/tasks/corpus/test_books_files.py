"""Files of books: packed, mislabelled, damaged or hostile; encodings declared and not."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from tasks.corpus.funnel import Funnel
from tasks.corpus.sources import book_files
from tasks.corpus.sources.book_files import UnknownEncodingError, decode, stored_books

TEXT = b"The captain walked along the quiet shore and told of ships.\n" * 40


def reasons(root: Path, name: str, data: bytes) -> tuple[list[str], list[tuple[str, int]]]:
    """Names of the books in a file of these bytes, and the reasons with their offsets."""
    (root / name).write_bytes(data)
    funnel = Funnel("books")
    found = [book.name for book in stored_books(root, name, funnel)]
    assert all(item["path"] == name for item in funnel.bad_files)
    return found, [(item["reason"], item["offset"]) for item in funnel.bad_files]


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b" \r\n \n", "empty file"),
        (b"%PDF-1.4\n" + TEXT, "PDF document"),
        (b"\xef\xbb\xbf{\\rtf1 " + TEXT, "RTF document"),
        (b"\n<!DOCTYPE html>\n<html>" + TEXT, "HTML page"),
        (b'<?xml version="1.0"?>\n<html lang="en">' + TEXT, "HTML page"),
        (b"PK\x03\x04 " + TEXT, "not text"),
        (bytes(range(256)) * 40, "not text"),
        (TEXT + b"\x01\x02\x03" * 20, "not text"),
        (TEXT + b"\x00" + TEXT, "NUL bytes"),
    ],
)
def test_files_that_are_not_what_their_name_says(tmp_path: Path, data: bytes, reason: str) -> None:
    assert reasons(tmp_path, "a.txt", data) == ([], [(reason, 0)])
    assert reasons(tmp_path, "a.txt.gz", gzip.compress(data)) == ([], [(reason, 0)])
    members = {"one.txt": TEXT, "two.txt": data}
    assert reasons(tmp_path, "a.zip", zipped(members)) == (["a.zip#one.txt"], [(reason, 1)])


def test_text_with_marks_of_old_systems_is_text(tmp_path: Path) -> None:
    for data in (TEXT + b"\x1a" + b"\x00" * 500, b"\x0c" + TEXT, TEXT.replace(b"\n", b"\r\n")):
        assert reasons(tmp_path, "a.txt", data) == (["a.txt"], [])
        assert decode(data)[0].strip("\f\n") == TEXT.decode().strip()


def test_books_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_files, "MAX_BYTES", 1000)
    for name, data in (("a.txt", TEXT), ("a.txt.gz", gzip.compress(TEXT))):
        assert reasons(tmp_path, name, data) == ([], [("file too large", 0)])
    assert reasons(tmp_path, "a.txt", TEXT[:1000]) == (["a.txt"], [])


def test_damaged_gzip_files(tmp_path: Path) -> None:
    packed = gzip.compress(TEXT + bytes(range(32, 127)) * 50)
    assert reasons(tmp_path, "a.txt.gz", packed[:-30]) == ([], [("truncated gzip", 0)])
    assert reasons(tmp_path, "a.txt.gz", b"no gzip") == ([], [("corrupt gzip", 0)])
    assert reasons(tmp_path, "a.epub", b"x") == ([], [("no text file", 0)])


def test_books_of_a_zip_file_are_found_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(
        zipped({"11.txt": TEXT, "images/": b"", "cover.jpg": b"x", "old/12.TXT": TEXT})
    )
    found = list(stored_books(tmp_path, "a.zip", funnel := Funnel("books")))
    assert [(book.name, book.offset) for book in found] == [
        ("a.zip#11.txt", 0), ("a.zip#old/12.TXT", 2),
    ]  # fmt: skip
    assert [(item["reason"], item["offset"]) for item in funnel.bad_files] == [("no text file", 1)]


@pytest.mark.parametrize(
    "name", ["../up.txt", "/root.txt", "a/../../b.txt", "C:\\b.txt", "a\\..\\b.txt"]
)
def test_members_that_lead_out_of_their_archive(tmp_path: Path, name: str) -> None:
    found = reasons(tmp_path, "a.zip", zipped({name: TEXT, "good.txt": TEXT}))
    assert found == (["a.zip#good.txt"], [("path leads out of its archive", 0)])


def test_links_and_encrypted_and_doubled_members(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("twice.txt", TEXT)
        archive.writestr("twice.txt", TEXT)
    assert reasons(tmp_path, "a.zip", buffer.getvalue()) == (
        ["a.zip#twice.txt"],
        [("link in an archive", 0), ("member twice in its archive", 2)],
    )
    data = bytearray(zipped({"secret.txt": TEXT}, zipfile.ZIP_STORED))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", data, data.index(mark) + at, 1)
    assert reasons(tmp_path, "a.zip", bytes(data)) == ([], [("encrypted member", 0)])


def test_zip_bombs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_files, "MAX_BYTES", 100_000)
    monkeypatch.setattr(book_files, "MAX_ARCHIVE", 250_000)
    monkeypatch.setattr(book_files, "MAX_MEMBERS", 8)
    big = b"word and more\n" * 20_000
    found = reasons(tmp_path, "a.zip", zipped({"a.txt": big, "b.txt": TEXT}))
    assert found == (["a.zip#b.txt"], [("file too large", 0)])
    many = {f"{number}.txt": TEXT * 30 for number in range(6)}
    names, counted = reasons(tmp_path, "a.zip", zipped(many))
    assert len(names) == 3 and counted == [("archive too large", 3)]
    crowd = {f"{number}.txt": b"x" for number in range(9)}
    assert reasons(tmp_path, "a.zip", zipped(crowd)) == ([], [("too many members", 0)])


def test_damaged_zip_files(tmp_path: Path) -> None:
    whole = zipped({"a.txt": TEXT, "b.txt": TEXT}, zipfile.ZIP_STORED)
    assert reasons(tmp_path, "a.zip", whole[:-40]) == ([], [("corrupt archive", 0)])
    assert reasons(tmp_path, "a.zip", b"") == ([], [("corrupt archive", 0)])
    assert reasons(tmp_path, "a.zip", zipped({})) == ([], [("empty archive", 0)])
    flipped = bytearray(whole)
    flipped[100] ^= 1
    assert reasons(tmp_path, "a.zip", bytes(flipped)) == (
        ["a.zip#b.txt"], [("corrupt archive", 0)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", "ASCII"), ("cp1252", ""), ("cp1252", "ISO-8859-1"), ("cp1252", "US-ASCII"),
        ("cp437", "CP437"), ("cp437", "IBM437"), ("mac_roman", "MacRoman"), ("cp850", "CP850"),
        ("iso8859_15", "ISO-8859-15"), ("utf-16", ""), ("utf-16-le", ""), ("utf-16-be", ""),
        ("utf-8-sig", "ISO-8859-1"),
    ],
)  # fmt: skip
def test_encodings_by_mark_content_and_declaration(encoding: str, declared: str) -> None:
    header = f"Title: X\r\nCharacter set encoding: {declared}\r\n\r\n" if declared else ""
    text = header + "Le caf\u00e9 de No\u00ebl, \u00e0 c\u00f4t\u00e9.\r\n" * 30
    decoded, used = decode(text.encode(encoding))
    assert decoded == text.replace("\r\n", "\n")
    assert used == {"utf-8": "utf-8-sig"}.get(encoding, encoding)


def test_other_scripts_by_declaration() -> None:
    header = "Title: X\nCharacter set encoding: {}\n\n"
    for name, encoding, text in (
        ("Windows-1251", "cp1251", "\u0412\u043e\u0439\u043d\u0430 \u0438 \u043c\u0438\u0440 "),
        ("Big5", "big5", "\u7d05\u6a13\u5922 "),
        ("ISO-2022-JP", "iso2022_jp", "\u543e\u8f29\u306f\u732b\u3067\u3042\u308b "),
    ):
        whole = header.format(name) + text * 20
        assert decode(whole.encode(encoding)) == (whole, encoding)


def test_unknown_and_broken_encodings() -> None:
    with pytest.raises(UnknownEncodingError):
        decode(b"Character set encoding: Klingon-1\n\nCaf\xe9")
    with pytest.raises(UnknownEncodingError):
        decode(b"\xff\xfe\x00\xd8a\x00")
    assert decode(b"Character set encoding: Klingon-1\n\nCafe")[0].endswith("Cafe")
    # A download cut inside a character, or with one broken byte, is still UTF-8.
    whole = ("caf\u00e9 " * 300).encode()
    text, encoding = decode(whole + b"\xe2\x80")
    assert text == "caf\u00e9 " * 300 + "\ufffd" and encoding == "utf-8-sig, 1 characters replaced"


def test_every_book_is_shown_to_the_watch_before_it_is_read(tmp_path: Path) -> None:
    """A member that hung before is passed, the others are read."""

    class Watch:
        def begin(self, file: str, offset: int) -> str | None:
            return "took too long" if offset == 1 else None

        def end(self) -> None:
            pass

    (tmp_path / "a.zip").write_bytes(zipped({f"{n}.txt": TEXT for n in range(3)}))
    funnel = Funnel("books")
    funnel.watch = Watch()
    found = [book.name for book in stored_books(tmp_path, "a.zip", funnel)]
    assert found == ["a.zip#0.txt", "a.zip#2.txt"]
    assert funnel.entries["read"].rejected == {"took too long": 1}
