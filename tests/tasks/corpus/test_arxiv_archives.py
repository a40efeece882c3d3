"""arXiv's archives: layouts, names that lie, damage, bombs; each a reason with its place."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import struct
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import arxiv, arxiv_archives
from tasks.corpus.sources.arxiv_archives import RefusedError
from tasks.corpus.sources.arxiv_papers import packed_paper

TEX = b"\\documentclass{article}\\begin{document}\\section{S} Text.\\end{document}"
CLEAN = "\\section{S} Text."


def tar(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def collect(root: Path, funnel: Funnel | None = None) -> tuple[list[Document], Funnel]:
    funnel = funnel or Funnel("arxiv")
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    documents = list(arxiv.read(root, files, CorpusParameters(), funnel))
    written = {"documents": len(documents), "characters": sum(len(d.text) for d in documents)}
    written["bytes"] = sum(len(d.text.encode()) for d in documents)
    check_chain(funnel.rows(), written)
    return documents, funnel


def reasons(funnel: Funnel) -> list[tuple[str, str, int]]:
    return [(r.reason, r.file, r.offset) for r in funnel.rejected_rows]


def counts(funnel: Funnel) -> dict[str, int]:
    return {k: v for row in funnel.rows() for k, v in row["rejected"].items()}


def left_out(funnel: Funnel) -> dict[str, int]:
    """What papers are left without, which is no document of the funnel."""
    return {k: v for row in funnel.rows() for k, v in row.get("changed", {}).items()}


def test_every_refused_member_is_counted_with_its_number(tmp_path: Path) -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {
        "2301": special("2301", tarfile.DIRTYPE),
        "2301/1.gz": gzip.compress(TEX),
        "2301/2.pdf": b"%PDF-1.5",
        "2301/3.gz": gzip.compress(b"%PDF-1.5"),
        "2301/4.gz": gzip.compress(b"%!PS-Adobe-2.0"),
        "2301/5.gz": gzip.compress(b"%auto-ignore"),
        "2301/6.gz": gzip.compress(tar({"a.tex": b"%auto-ignore", "b.tex": b" %auto-ignore"})),
        "2301/7.gz": special("2301/7.gz", tarfile.SYMTYPE, "/etc/passwd"),
        "2301/8.gz": special("2301/8.gz", tarfile.LNKTYPE, "../../x"),
        "2301/9.gz": special("2301/9.gz", tarfile.FIFOTYPE),
        "2301/10.gz": gzip.compress(TEX)[:-12],
        "2301/11.gz": b"\x1f\x8b\x08\x00" + b"\x55" * 60,
        "2301/12.gz": gzip.compress(b"PK\x03\x04 a word processor's"),
        "2301/13.gz": gzip.compress(b"<!DOCTYPE html><p>\\section{a}"),
        "2301/14.gz": gzip.compress(b"\\documentclass{a}\x00\\section{a}"),
        "2301/15.gz": gzip.compress(b"\\usepackage[klingon]{inputenc} caf\xe9"),
        "2301/16.gz": bytes(range(256)),
        "2301/17.gz": gzip.compress(tar({"a.tex": b"%PDF-1.5"})),
        "2301/18.gz": gzip.compress(tar({"a.tex": TEX})[:600]),
        "2301/19.gz": gzip.compress(b""),
        "2301/20": gzip.compress(TEX.replace(b"Text", b"End")),
    }
    (tmp_path / "a.tar").write_bytes(tar(members))
    documents, funnel = collect(tmp_path)
    assert [(d.id, d.meta["file"], d.meta["offset"]) for d in documents] == [
        ("arxiv:1", "a.tar", 1), ("arxiv:20", "a.tar", 20)
    ]  # fmt: skip
    assert reasons(funnel) == [
        (reason, "a.tar", number)
        for number, reason in enumerate(
            ["PDF only", "PDF only", "PostScript only", "withdrawn", "withdrawn",
             "link in an archive", "link in an archive", "device in an archive", "truncated gzip",
             "corrupt gzip", "no LaTeX file", "no LaTeX file", "NUL bytes", "unknown encoding",
             "not what its name says", "not what its name says", "corrupt archive", "withdrawn"],
            2,
        )
    ]  # fmt: skip
    assert [row.id for row in funnel.rejected_rows[:1]] == ["a.tar#2301/2.pdf"]


def test_refused_files_inside_a_paper_are_counted_and_the_paper_is_read(tmp_path: Path) -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {
        "main.tex": TEX.replace(b"Text.", b"\\input{a}\\input{b}\\input{c}\\input{ok}"),
        "a.tex": special("a.tex", tarfile.SYMTYPE, "/etc/passwd"),
        "b.tex": special("b.tex", tarfile.LNKTYPE, "../../secret.tex"),
        "c.tex": b"\x89PNG\r\n",
        "d.tex": b"a\x00b",
        "e.tex": special("e.tex", tarfile.CHRTYPE),
        "../f.tex": b"outside",
        "/g.tex": b"outside",
        "figure.png": b"\x89PNG",
        "notes.txt": b"\x00",  # no LaTeX by its name: not missed
        "ok.tex": b"Part.",
    }
    (tmp_path / "1.gz").write_bytes(gzip.compress(tar(members)))
    (document,), funnel = collect(tmp_path)
    assert document.text == "\\section{S} Part." and document.meta["offset"] == 0
    assert left_out(funnel) == {
        "link in an archive": 2, "not what its name says": 1, "NUL bytes": 1,
        "device in an archive": 1, "path outside the paper": 2, "part not in the paper": 3,
    }  # fmt: skip
    assert document.meta["files_refused"] == 7 and not funnel.rejected_rows


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("1.tar.gz", gzip.compress(tar({"2301/1.gz": gzip.compress(TEX)}))),
        ("1.tgz", gzip.compress(tar({"1.gz": gzip.compress(TEX)}))),
        ("1.tar", lzma.compress(tar({"1.gz": gzip.compress(TEX)}))),
        ("1.tar", gzip.compress(tar({"1.gz": gzip.compress(TEX)}))),
        ("1.tar.gz", tar({"1.gz": gzip.compress(TEX)})),  # plain, whatever its name says
        ("a.tar", tar({"1.gz": TEX})),  # a member that is no gzip
        ("a.tar", tar({"1.gz": tar({"main.tex": TEX})})),
        ("a.tar", tar({"1.tex": TEX})),
        ("1.tar", TEX),  # a paper that is called an archive
        ("1.tar", gzip.compress(TEX)),
        ("1.gz", TEX),
        ("1.gz", gzip.compress(tar({"MAIN.TEX": TEX}))),
        ("1.gz", gzip.compress(tar({"paper": TEX}))),  # before 1995 names had no endings
        ("1.gz", gzip.compress(tar({"paper.latex": TEX, "README": b"none"}))),
        ("1.tex", TEX),
        ("1.gz", gzip.compress(TEX[:20]) + gzip.compress(TEX[20:])),
    ],
)
def test_layouts(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (document,), funnel = collect(tmp_path)
    assert document.text == CLEAN and document.id == "arxiv:1"
    assert document.meta["file"] == name and not funnel.bad_files


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.tex", b"%PDF-1.5 x", "not what its name says"),
        ("a.tex", gzip.compress(TEX), "not what its name says"),
        ("a.tex", TEX + b"\x00", "NUL bytes"),
        ("a.tex", b"", "empty file"),
        ("a.tar", b"", "empty file"),
        ("a.tar", b"%PDF-1.5" * 100, "corrupt archive"),
        ("a.tar", b"PK\x03\x04" * 1000, "corrupt archive"),
        ("a.tar.gz", gzip.compress(tar({f"{n}.gz": bytes(9000) for n in range(5)}))[:99],
         "truncated gzip"),
        ("a.tar", tar({f"{n}.gz": gzip.compress(TEX) for n in range(5)})[:1100], "corrupt archive"),
    ],
)  # fmt: skip
def test_unreadable_files_are_named(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    _, funnel = collect(tmp_path)
    assert [(row["path"], row["reason"]) for row in funnel.bad_files] == [(name, reason)]


def test_hundred_megabytes_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.tex").open("wb") as handle:
        handle.truncate(100_000_000)
    with gzip.open(tmp_path / "b.gz", "wb") as packed:
        packed.write(TEX + b"%" * 100_000_000)
    (tmp_path / "c.gz").write_bytes(gzip.compress(TEX + b"%" * 11_000_000))
    started = time.monotonic()
    documents, funnel = collect(tmp_path)
    assert not documents and time.monotonic() - started < 10
    assert counts(funnel) == {"file too large": 2, "paper too large": 1}


def test_a_compressed_archive_that_grows_too_much_is_left(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with gzip.open(stream, "wb") as packed:
        packed.write(tar({"1.gz": gzip.compress(TEX)})[:1024])
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.gz")
            info.size = 90_000_000
            packed.write(info.tobuf())
            packed.write(bytes(90_000_000 + 512 - 90_000_000 % 512))
    (tmp_path / "a.tar.gz").write_bytes(stream.getvalue())
    documents, funnel = collect(tmp_path)
    assert [d.text for d in documents] == [CLEAN]
    assert [row["reason"] for row in funnel.bad_files] == ["unpacks to too much"]


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def negative(name: str) -> bytes:
    """A header whose size is below nothing, as base-256 numbers can say."""
    data = bytearray(header(name, 0))
    data[124:136] = b"\xff" * 10 + struct.pack(">h", -512)
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data):06o}\0 ".encode()
    return bytes(data)


def pax(**values: str) -> bytes:
    records = b""
    for key, value in values.items():
        rest = f" {key}={value}\n".encode()
        length = next(n for n in range(1, 99) if len(str(n)) + len(rest) == n)
        records += str(length).encode() + rest
    return header("pax", len(records), tarfile.XHDTYPE) + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    "hostile",
    [
        negative("x.tex") * 2,
        pax(size="-1024") + header("x.tex", 0),
        header("long", 2_000_000_000, tarfile.GNUTYPE_LONGNAME),
        header("pax", 2_000_000_000, tarfile.XHDTYPE),
        pax(comment="x") * 3000 + header("x.tex", 0),
        pax(**{"GNU.sparse.map": "a,b", "GNU.sparse.size": "1"}) + header("x.tex", 0),
        header("x.tex", 8_000_000_000),
    ],
)
@pytest.mark.parametrize("inner", [True, False])
def test_hostile_headers_end_the_archive(tmp_path: Path, hostile: bytes, inner: bool) -> None:
    whole = tar({"1.tex" if inner else "1.gz": gzip.compress(TEX) if not inner else TEX})
    data = whole[:1024] + hostile + bytes(1024)
    (tmp_path / "a.tar").write_bytes(tar({"1.gz": gzip.compress(data)}) if inner else data)
    started = time.monotonic()
    documents, funnel = collect(tmp_path)
    assert time.monotonic() - started < 5
    assert len(documents) == (not inner) or counts(funnel).get("file too large")
    assert counts(funnel)


def test_a_paper_of_very_many_files_is_bounded(tmp_path: Path) -> None:
    many: dict[str, bytes | tarfile.TarInfo] = {f"{n:05}.tex": b"" for n in range(6000)}
    (tmp_path / "1.gz").write_bytes(gzip.compress(tar({"00.tex": TEX} | many)))
    (document,), funnel = collect(tmp_path)
    assert document.text == CLEAN
    assert left_out(funnel) == {"too many files in a paper": 1001}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("00README.XXX", b"b.tex toplevelfile\na.tex ignore\n"),
        ("00README.json", json.dumps(
            {"sources": [{"filename": "b.tex", "usage": "toplevel"},
                         {"filename": "a.tex", "usage": "ignore"}]}
        ).encode()),
    ],
)  # fmt: skip
def test_arxiv_s_own_word_on_the_main_file(name: str, hint: bytes) -> None:
    files = {"a.tex": TEX * 9, "b.tex": TEX, name: hint}
    paper = packed_paper(gzip.compress(tar(dict(files))), "1", "u")
    assert paper.main == "b.tex" and list(paper.files) == ["b.tex"]
    broken = packed_paper(gzip.compress(tar({"a.tex": TEX, name: b"[" * 100_000})), "1", "u")
    assert broken.main is None and list(broken.files) == ["a.tex"]


def test_main_file_of_several(tmp_path: Path) -> None:
    other = TEX.replace(b"Text", b"Supplement")
    figure = b"\\documentclass{standalone}\\begin{document}\\section{F}\\end{document}"
    files: dict[str, bytes | tarfile.TarInfo] = {
        "a_figure.tex": figure + b" " * 900,
        "chapter.tex": TEX.replace(b"Text", b"Chapter") + b" " * 900,
        "old.tex": b"% \\documentclass{article}\\begin{document}\\section{Old}" + b" " * 900,
        "paper.tex": TEX.replace(b"Text.", b"\\input{chapter}"),
        "supplement.tex": other + b" " * 900,
    }
    (tmp_path / "1.gz").write_bytes(gzip.compress(tar(files)))
    (document,), funnel = collect(tmp_path)
    assert document.meta["main"] == "paper.tex"
    assert document.text == "\\section{S} \\section{S} Chapter."
    assert counts(funnel) == {} and left_out(funnel) == {"another document of the paper": 1}
    assert document.meta["other_documents"] == ["supplement.tex"]


def test_names_of_parts(tmp_path: Path) -> None:
    parts = [
        "\\input{with space}", '\\input{"quoted name"}', '\\input "bare quoted"', "\\input plain",
        "\\InputIfFileExists{exists}{}{}", "\\@input{at.tex}", "\\subinputfrom{sub/}{below}",
        "\\input{no-ending}", "\\input{figure.tikz}",
    ]  # fmt: skip
    names = [
        "with space.tex", "quoted name.tex", "bare quoted.tex", "plain.tex", "exists.tex", "at.tex",
        "sub/below.tex", "no-ending", "figure.tikz",
    ]  # fmt: skip
    main = TEX.replace(b"Text.", " ".join(parts).encode() + b" \\input{main.bbl} End.")
    files: dict[str, bytes | tarfile.TarInfo] = {
        name: f"<{number}>\n\\endinput\nnot this".encode() for number, name in enumerate(names)
    }
    files |= {"main.tex": main, "main.bbl": b"\\begin{thebibliography}{9}\\end{thebibliography}"}
    (tmp_path / "1.gz").write_bytes(gzip.compress(tar(files)))
    (document,), funnel = collect(tmp_path)
    words = document.text.replace("{}", "").split()
    assert words == ["\\section{S}", *(f"<{n}>" for n in range(len(parts))), "End."]
    assert counts(funnel) == {} and document.meta["parts"] == len(parts)


def test_parts_share_the_encoding_that_the_main_file_declares(tmp_path: Path) -> None:
    main = b"\\usepackage[koi8-r]{inputenc}" + TEX.replace(b"Text.", b"\\input{a}")
    part = "Пусть".encode("koi8_r")
    (tmp_path / "1.gz").write_bytes(gzip.compress(tar({"a.tex": part, "main.tex": main})))
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose/main.tex").write_bytes(main)
    (tmp_path / "loose/a.tex").write_bytes(part)
    documents, _ = collect(tmp_path)
    assert [d.text for d in documents] == ["\\section{S} Пусть"] * 2
    assert documents[0].meta["encodings"] == ["koi8_r", "utf-8"]


def test_a_record_given_up_before_is_passed(tmp_path: Path) -> None:
    class Skips:
        """Passes given places."""

        def __init__(self) -> None:
            self.begun: list[tuple[str, int]] = []

        def begin(self, file: str, offset: int) -> str | None:
            self.begun.append((file, offset))
            return "took too long" if (file, offset) in (("a.tar", 1), ("b/x.tex", 0)) else None

        def end(self) -> None:
            """Nothing to do."""

    (tmp_path / "a.tar").write_bytes(tar({f"{n}.gz": gzip.compress(TEX) for n in range(3)}))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x.tex").write_bytes(TEX)
    (tmp_path / "b/y.tex").write_bytes(TEX)
    funnel = Funnel("arxiv")
    funnel.watch = Skips()
    documents, _ = collect(tmp_path, funnel)
    assert [d.id for d in documents] == ["arxiv:0", "arxiv:2", "arxiv:b/y"]
    assert counts(funnel) == {"took too long": 2}
    assert funnel.watch.begun[:4] == [("a.tar", 0), ("a.tar", 1), ("a.tar", 2), ("b/x.tex", 0)]


def test_units_keep_a_loose_paper_together() -> None:
    base = "corpus/arxiv"
    files = [
        f"{base}/bulk.tar", f"{base}/one/figures/a.tex", f"{base}/one/main.tex",
        f"{base}/one/ref.bib", f"{base}/two/main.tex", f"{base}/z/p/a.tex", f"{base}/z/q/a.tex",
    ]  # fmt: skip
    assert arxiv.units(files) == [
        [f"{base}/bulk.tar"], [f"{base}/one/figures/a.tex", f"{base}/one/main.tex"],
        [f"{base}/one/ref.bib"], [f"{base}/two/main.tex"], [f"{base}/z/p/a.tex"],
        [f"{base}/z/q/a.tex"],
    ]  # fmt: skip
    assert arxiv.units([]) == []
    assert arxiv.units(["b/c.tex", "a.tex"]) == [["b/c.tex", "a.tex"]]
    assert arxiv.units(["a.tex", "b/c.tex"]) == [["a.tex", "b/c.tex"]]


def test_memory_does_not_grow_with_the_members(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar({f"{n}.pdf": b"" for n in range(2000)}))
    for _, _, archive in arxiv_archives.bulk_members(path):
        assert len(archive.members) <= 1


@pytest.mark.parametrize(
    ("identity", "month"),
    [("2301.00001", "2023-01"), ("0704.0001v2", "2007-04"), ("hep-th9901001", "1999-01"),
     ("math.AG0001002", "2000-01"), ("2313.00001", ""), ("paper", ""), ("stacks-dpa", "")],
)  # fmt: skip
def test_month_of_submission_comes_from_the_identifier(identity: str, month: str) -> None:
    assert arxiv.submitted(identity) == month


WHOLE = tar({"1.gz": gzip.compress(TEX), "2.gz": gzip.compress(tar({"m.tex": TEX, "a": b"b"}))})


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=12),
    st.integers(0, len(WHOLE)),
)
def test_a_damaged_archive_never_raises(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(WHOLE)
    for place, value in flips:
        data[place] = value
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a.tar").write_bytes(bytes(data[:cut]))
    collect(folder)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=600), st.booleans())
def test_any_bytes_are_a_paper_or_a_reason(data: bytes, packed: bool) -> None:
    try:
        paper = packed_paper(gzip.compress(data) if packed else data, "1", "u")
    except RefusedError as error:
        assert str(error)
    else:
        assert paper.files
