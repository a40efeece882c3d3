"""Archives of projects: what is read, what is counted, and what is made to break the reader."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import py7zr
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import code_archives, github, stackexchange

MIT = "Permission is hereby granted, free of charge, to any person ... sublicense, and/or sell"
CODE = "def area(width, height):\n    return width * height\n"


def collect(root: Path, *names: str, **options: object) -> tuple[list[Document], Funnel]:
    funnel = Funnel("github")
    files = names or sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    parameters = CorpusParameters.model_validate(options)
    documents = list(github.read(root, files, parameters, funnel))
    check_chain(funnel.rows(), {"documents": len(documents)})
    return documents, funnel


def reasons(funnel: Funnel, name: str = "read") -> dict[str, int]:
    return funnel.entries[name].rejected


def info(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = len(data), kind, link
    return made, io.BytesIO(data)


def tar(path: Path, *members: tuple, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for made, data in members:
            archive.addfile(made, data)
    return path


def good() -> tuple[tuple, ...]:
    return info("p/a.py", CODE.encode()), info("p/LICENSE", MIT.encode())


def test_every_kind_of_member_is_counted_by_its_number(tmp_path: Path) -> None:
    tar(
        tmp_path / "p.tgz",
        info("p", kind=tarfile.DIRTYPE),
        *good(),
        info("/etc/passwd.py", CODE.encode()),
        info("p/../../up.py", CODE.encode()),
        info("p/link.py", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        info("p/hard.py", kind=tarfile.LNKTYPE, link="p/a.py"),
        info("p/pipe.py", kind=tarfile.FIFOTYPE),
        info("p/disk.py", kind=tarfile.BLKTYPE),
        info("p/inner.tar.gz", b"anything"),
        info("p/big.py", b"x" * 1_000_001),
        info("p/nul.py", b"a\0b"),
        info("p/latin.py", "é".encode("latin-1") * 9),
        info("p/a.py", CODE.replace("area", "again").encode()),
        info("C:/windows.py", CODE.encode()),
        info("p/" + "d/" * 2500 + "a.py", CODE.encode()),
        mode="w:gz",
    )
    documents, funnel = collect(tmp_path)
    assert [(d.meta["offset"], d.meta["file"]) for d in documents] == [(2, "p.tgz"), (14, "p.tgz")]
    assert documents[0].uri == documents[1].uri == "p.tgz#p/a.py"
    assert documents[0].id != documents[1].id
    assert reasons(funnel) == {
        "extension not on the list": 1, "path leads out of the archive": 3,
        "link in the archive": 2, "device in the archive": 2, "archive inside a project": 1,
        "file too large": 1, "empty or binary": 1, "not UTF-8": 1, "path too long": 1,
    }  # fmt: skip
    places = {row.offset: row.reason for row in funnel.rejected_rows if row.filter == "read"}
    assert places[6] == places[7] == "link in the archive" and places[13] == "not UTF-8"
    assert {row.file for row in funnel.rejected_rows} == {"p.tgz"}


def test_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/", "")
        archive.writestr("p/a.py", CODE)
        archive.writestr("p/LICENSE", MIT)
        archive.writestr("../up.py", CODE)
        archive.writestr("p\\b.py", CODE.replace("area", "box"))
        archive.writestr("p/nested.zip", b"PK")
        link = zipfile.ZipInfo("p/link.py")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        device = zipfile.ZipInfo("p/disk.py")
        device.external_attr = stat.S_IFBLK << 16
        archive.writestr(device, "")
        archive.writestr("p/broken.py", "print('one', 'two', 'three')")
    data = (tmp_path / "p.zip").read_bytes()
    at = data.index(b"p/broken.py") + len("p/broken.py")
    (tmp_path / "p.zip").write_bytes(data[:at] + b"\xff\xff\xff" + data[at + 3 :])
    documents, funnel = collect(tmp_path)
    assert [(d.uri, d.meta["offset"]) for d in documents] == [("p.zip#p/a.py", 2),
                                                              ("p.zip#p/b.py", 5)]  # fmt: skip
    assert reasons(funnel) == {
        "extension not on the list": 1, "path leads out of the archive": 1,
        "archive inside a project": 1, "link in the archive": 1, "device in the archive": 1,
        "corrupt member": 1,
    }  # fmt: skip


def test_a_member_with_a_password(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("a.py", CODE)
        archive.writestr("LICENSE", MIT)
    data = bytearray((tmp_path / "p.zip").read_bytes())
    data[6] |= 1  # of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and of the directory's
    (tmp_path / "p.zip").write_bytes(data)
    documents, funnel = collect(tmp_path)
    assert documents == [] and reasons(funnel)["member with a password"] == 1


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(code_archives, "MAX_MEMBERS", 5)
    names = [f"p/a{number}.py" for number in range(9)]
    if kind == "tar":
        tar(tmp_path / "p.tar", *(info(name, CODE.encode()) for name in names))
    else:
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            for name in names:
                archive.writestr(name, CODE)
    _, funnel = collect(tmp_path)
    assert [row["reason"] for row in funnel.bad_files] == ["too many files in the archive"]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(code_archives, "MIN_UNPACKED", 20_000_000)
    zeros = b"a" * 1_000_000
    if kind == "tar":
        tar(tmp_path / "p.tgz", *(info(f"{n}.py", zeros) for n in range(60)), mode="w:gz")
    else:
        with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for n in range(60):
                archive.writestr(f"{n}.py", zeros)
    began = time.process_time()
    documents, funnel = collect(tmp_path)
    assert documents == [] and time.process_time() - began < 20
    assert [row["reason"] for row in funnel.bad_files] == ["archive unpacks too large"]


@pytest.mark.parametrize("name", ["p/big.py", "p/big.bin"])
def test_a_large_member_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(code_archives, "MIN_UNPACKED", 20_000_000)
    monkeypatch.setattr(code_archives, "MIN_PASSED_OVER", 60_000_000)
    large = b"a" * 40_000_000
    tar(tmp_path / "p.tgz", info(name, large), *good(), mode="w:gz")
    documents, funnel = collect(tmp_path)
    assert [document.meta["path"] for document in documents] == ["p/a.py"]
    assert funnel.bad_files == []
    expected = "file too large" if name.endswith(".py") else "extension not on the list"
    assert reasons(funnel)[expected] >= 1
    # Passing over them takes time, too: a second one is one too many.
    tar(tmp_path / "p.tgz", info(name, large), info(name, large), *good(), mode="w:gz")
    documents, funnel = collect(tmp_path)
    assert [row["reason"] for row in funnel.bad_files] == ["archive unpacks too large"]


def test_one_member_that_says_it_is_huge(tmp_path: Path) -> None:
    head = tarfile.TarInfo("a.py")
    head.size = 1 << 40
    (tmp_path / "p.tar.gz").write_bytes(gzip.compress(head.tobuf() + b"x" * 2048))
    _, funnel = collect(tmp_path)
    assert [row["reason"] for row in funnel.bad_files] == ["archive unpacks too large"]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_s_own_headers_are_bounded(tmp_path: Path, kind: bytes) -> None:
    head = tarfile.TarInfo("header")
    head.type, head.size = kind, 1 << 30
    (tmp_path / "p.tar").write_bytes(head.tobuf(tarfile.USTAR_FORMAT) + b"1" * 4096)
    _, funnel = collect(tmp_path)
    assert [row["reason"] for row in funnel.bad_files] == ["corrupt archive"]


def test_a_damaged_header_does_not_end_the_archive_in_silence(tmp_path: Path) -> None:
    path = tar(tmp_path / "p.tar", *good(), info("p/b.py", CODE.replace("area", "box").encode()))
    whole = path.read_bytes()
    data = bytearray(whole)
    data[2048 + 1] ^= 0xFF  # the third header
    path.write_bytes(data)
    documents, funnel = collect(tmp_path)
    assert len(documents) == 1
    assert funnel.bad_files == [{"path": "p.tar", "reason": "corrupt archive", "offset": 2}]
    path.write_bytes(whole[:2048])
    documents, funnel = collect(tmp_path)
    assert len(documents) == 1
    assert [row["reason"] for row in funnel.bad_files] == ["truncated archive"]


def test_what_is_not_what_its_name_says(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tgz", "c.zip", "d.tar.xz", "e.tar.bz2"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n" + bytes(range(256)) * 9)
    (tmp_path / "f.zip").write_bytes(b"")
    _, funnel = collect(tmp_path)
    assert {row["path"]: row["reason"] for row in funnel.bad_files} == {
        **dict.fromkeys(("a.tar", "b.tgz", "c.zip", "d.tar.xz", "e.tar.bz2"), "corrupt archive"),
        "f.zip": "empty file",
    }


def test_a_given_up_member_is_passed_over_and_counted(tmp_path: Path) -> None:
    tar(tmp_path / "p.tar", *good(), info("p/b.py", CODE.replace("area", "box").encode()))

    class Watch:
        def begin(self, file: str, offset: int) -> str | None:
            return "took too long" if (file, offset) == ("p.tar", 1) else None

        def end(self) -> None:
            """Nobody's time passes."""

    funnel = Funnel("github")
    funnel.watch = Watch()
    documents = list(github.read(tmp_path, ["p.tar"], CorpusParameters(), funnel))
    assert [d.meta["path"] for d in documents] == ["p/b.py"]
    assert reasons(funnel)["took too long"] == 1


def small_tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for made, data in (*good(), info("p/" + "n" * 120 + ".py", CODE.encode())):
            archive.addfile(made, data)
    return packed.getvalue()[:8192]


def small_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/a.py", CODE)
        archive.writestr("p/LICENSE", MIT)
    return packed.getvalue()


def small_7z() -> bytes:
    row = '<row Id="{0}" PostTypeId="1" Score="1" Body="&lt;p&gt;question {0}&lt;/p&gt;" />'
    packed = io.BytesIO()
    with py7zr.SevenZipFile(packed, "w") as archive:
        text = "<posts>" + "".join(row.format(n) for n in range(40)) + "</posts>"
        archive.writestr(text.encode(), "Posts.xml")
        archive.writestr(b"<users/>", "Users.xml")
    return packed.getvalue()


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "repeat", "zero"]),
        st.floats(0, 1),
        st.integers(0, 255),
        st.integers(1, 64),
    ),
    min_size=1,
    max_size=6,
)


def changed(data: bytes, changes: list[tuple[str, float, int, int]]) -> bytes:
    for what, where, value, size in changes:
        at = int(where * len(data))
        if what == "set":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif what == "cut":
            data = data[:at] + data[at + size :]
        elif what == "insert":
            data = data[:at] + bytes([value]) * size + data[at:]
        elif what == "repeat":
            data = data[:at] + data[at : at + size] * 2 + data[at + size :]
        else:
            data = data[:at] + bytes(size) + data[at + size :]
    return data


def read_changed(folder: Path, name: str, data: bytes) -> Funnel:
    (folder / name).write_bytes(data)
    source = "stackexchange" if name.endswith(".7z") else "github"
    reader = stackexchange if source == "stackexchange" else github
    funnel = Funnel(source)
    began = time.process_time()
    documents = list(reader.read(folder, [name], CorpusParameters(), funnel))
    assert time.process_time() - began < 20
    check_chain(funnel.rows(), {"documents": len(documents)})
    return funnel


@pytest.mark.parametrize(
    ("name", "make", "examples"),
    [
        ("a.tar", small_tar, 400),
        ("a.tar.gz", lambda: gzip.compress(small_tar(), mtime=0), 200),
        ("a.zip", small_zip, 400),
        ("a.org.7z", small_7z, 150),
    ],
)
def test_no_damage_to_an_archive_raises(
    tmp_path: Path, name: str, make: Callable[[], bytes], examples: int
) -> None:
    whole = make()
    assert not [r for r in read_changed(tmp_path, name, whole).bad_files if "trunc" not in str(r)]

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(CHANGES)
    def check(changes: list[tuple[str, float, int, int]]) -> None:
        read_changed(tmp_path, name, changed(whole, changes))

    check()
