"""arXiv papers: what one is left without, its own packages, its encoding, AMS-TeX."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import arxiv

TEX = b"\\documentclass{article}\\begin{document}\\section{S} Text.\\end{document}"
RUSSIAN = "Пусть функция непрерывна на отрезке и возрастает на нём."


def tar(files: dict[str, bytes | None]) -> bytes:
    """A tar of files; None stands for a link out of it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data or b"")
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info, io.BytesIO(data or b""))
    return stream.getvalue()


def collect(root: Path) -> tuple[list[Document], Funnel]:
    funnel = Funnel("arxiv")
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    documents = list(arxiv.read(root, files, CorpusParameters(), funnel))
    written = {"documents": len(documents), "characters": sum(len(d.text) for d in documents)}
    check_chain(funnel.rows(), written)
    return documents, funnel


def counts(funnel: Funnel) -> dict[str, int]:
    return {k: v for row in funnel.rows() for k, v in row["rejected"].items()}


def left_out(funnel: Funnel) -> dict[str, int]:
    """What papers are left without, which is no document of the funnel."""
    return {k: v for row in funnel.rows() for k, v in row.get("changed", {}).items()}


def test_a_paper_is_one_document_whatever_it_is_left_without(tmp_path: Path) -> None:
    inputs = "".join(f"\\input{{p{number}}} " for number in range(20_000)).encode()
    files: dict[str, bytes | None] = {f"p/{number}.tex": None for number in range(100)}
    files["main.tex"] = TEX.replace(b"Text.", inputs + b"Text.")
    (tmp_path / "1.gz").write_bytes(gzip.compress(tar(files)))
    (document,), funnel = collect(tmp_path)
    assert [row["documents_in"] for row in funnel.rows()] == [1] * 5
    assert counts(funnel) == {} and not funnel.rejected_rows
    assert left_out(funnel) == {
        "part not in the paper": 5_000, "too many parts": 15_000, "link in an archive": 100
    }  # fmt: skip
    assert document.meta["parts_lost"] == 20_000 and document.meta["files_refused"] == 100


def test_own_packages_give_their_definitions_in_both_layouts(tmp_path: Path) -> None:
    main = TEX.replace(b"Text.", b"\\zed{} \\wye.").replace(
        b"\\begin{doc", b"\\usepackage{mymac}\\begin{doc", 1
    )
    style = b"\\NeedsTeXFormat{LaTeX2e} Words. \\newcommand{\\zed}{ZED}\\RequirePackage{sub/other}"
    files: dict[str, bytes | None] = {
        "main.tex": main,
        "mymac.sty": style,
        "sub/other.sty": b"\\def\\wye{WYE}",
        "broken.sty": b"\\def\\x\x00",
    }
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/1.gz").write_bytes(gzip.compress(tar(files)))
    for name, data in files.items():
        assert data is not None
        path = tmp_path / "folder/p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "folder/p/unused.sty").write_bytes(b"\\def\\x{}")
    (tmp_path / "folder/alone.cls").write_bytes(b"\\def\\x{}")
    (document,), funnel = collect(tmp_path / "archive")
    assert document.text == "\\section{S} ZED{} WYE." and document.meta["packages"] == 2
    assert left_out(funnel) == {"NUL bytes": 1} and document.meta["files_refused"] == 1
    (document,), funnel = collect(tmp_path / "folder")
    assert document.text == "\\section{S} ZED{} WYE." and document.meta["packages"] == 2
    assert counts(funnel) == {"no LaTeX file": 3} and left_out(funnel) == {}
    places = {row.file for row in funnel.rejected_rows}
    assert places == {"p/broken.sty", "p/unused.sty", "alone.cls"}
    assert arxiv.units(["p/a.sty", "p/m.tex", "p/q/b.cls", "r/c.sty"]) == [
        ["p/a.sty", "p/m.tex", "p/q/b.cls"], ["r/c.sty"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("head", "text", "codec", "expected"),
    [
        (b"", RUSSIAN, "koi8_r", None),
        (b"", RUSSIAN, "cp1251", None),
        (b"\\usepackage[utf8]{inputenc}", RUSSIAN, "koi8_r", None),  # which it is not
        (b"\\usepackage[koi8-r]{inputenc}", RUSSIAN, "koi8_r", RUSSIAN),
        (b"\\usepackage[russian]{babel}", RUSSIAN, "koi8_r", RUSSIAN),
        (b"", RUSSIAN, "utf-8", RUSSIAN),
        (b"", "Le théorème de Poincaré, « créé » à Besançon.", "cp1252", "Le théorème"),
        # what does not come into the text does not count
        (b"", f"Words. % {RUSSIAN}\n", "koi8_r", "Words."),
    ],
)
def test_a_guessed_encoding_that_gives_no_text_is_no_text(
    tmp_path: Path, head: bytes, text: str, codec: str, expected: str | None
) -> None:
    main = TEX.replace(b"Text.", text.encode(codec)).replace(b"\\begin{doc", head + b"\\begin{doc")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/1.gz").write_bytes(gzip.compress(main))
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose/m.tex").write_bytes(
        TEX.replace(b"Text.", b"\\input{part}").replace(b"\\begin{doc", head + b"\\begin{doc")
    )
    (tmp_path / "loose/part.tex").write_bytes(text.encode(codec))
    for folder in ("archive", "loose"):
        documents, funnel = collect(tmp_path / folder)
        if expected is None:
            assert not documents and counts(funnel) == {"unknown encoding": 1}
        else:
            assert expected in documents[0].text and not counts(funnel)


def test_ams_tex(tmp_path: Path) -> None:
    paper = (
        b"\\input amstex\n\\documentstyle{amsppt}\n\\def\\R{\\Bbb R}\n\\topmatter\\title X"
        b"\\endtitle\\endtopmatter\n\\document\nFront.\n"
        b"\\head 1. Intro\\endhead\nOn $\\R$.\n\\subhead a"
        b"\\endsubhead\n\\Refs\\ref\\key 1\\by A\\endref\\endRefs\n\\enddocument\nJunk."
    )
    (tmp_path / "1.gz").write_bytes(gzip.compress(paper))
    # \head and \endhead are other things in LaTeX
    latex = TEX.replace(b"\\section{S}", b"\\head a\\endhead")
    (tmp_path / "2.gz").write_bytes(gzip.compress(latex))
    (document,), funnel = collect(tmp_path)
    assert document.text == ("\\head 1. Intro\\endhead\nOn $\\Bbb R$.\n\\subhead a\\endsubhead")
    assert counts(funnel) == {"no section header": 1}


def test_another_file_in_another_encoding_is_no_wrong_guess(tmp_path: Path) -> None:
    text = "Two sentences: 我们证明了一个定理。 它推广了以前的结果。 As we show below."
    main = TEX.replace(b"Text.", text.encode())
    notes = "Müller, Universität".encode("latin-1")
    paper = gzip.compress(tar({"m.tex": main, "README": notes, "notes.txt": notes}))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/1.gz").write_bytes(paper)
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose/m.tex").write_bytes(main)
    (tmp_path / "loose/old.tex").write_bytes(notes)
    for folder in ("archive", "loose"):
        (document,), funnel = collect(tmp_path / folder)
        assert text in document.text and "unknown encoding" not in counts(funnel)
