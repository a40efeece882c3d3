"""arXiv: LaTeX cleaning rules and the two layouts, on papers of our own."""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
import time
from pathlib import Path

import pytest

from tasks.corpus.documents import Document, Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import arxiv, latex

PAPER = r"""\documentclass{article}
\newcommand{\R}{\mathbb{R}}
\newcommand{\norm}[1]{\lVert #1 \rVert}
\begin{document}
\title{T}\begin{abstract}Front matter.\end{abstract}
\section{First} % a remark
A gain of 50\% in $\norm{x} \in \R$.
% only a remark
\begin{thebibliography}{9}\bibitem{a} A. Author.\end{thebibliography}
\appendix
\section{Proofs} Done.
\end{document}
"""
CLEAN = (
    "\\section{First}\nA gain of 50\\% in $\\lVert x \\rVert \\in \\mathbb{R}$.\n\n\\appendix\n"
    "\\section{Proofs} Done."
)


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def collect(root: Path) -> tuple[list[Document], Funnel]:
    funnel = Funnel("arxiv")
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return list(arxiv.read(root, files, CorpusParameters(workers=1), funnel)), funnel


def rejected(funnel: Funnel) -> dict[str, int]:
    return {k: v for row in funnel.rows() for k, v in row["rejected"].items()}


def expand(text: str, limit: int = 1000) -> str:
    body, macros = latex.take_definitions(text)
    return latex.expand_macros(body, macros, limit).strip()


def test_bulk_archive(tmp_path: Path) -> None:
    members = {
        "2301/2301.00001.gz": gzip.compress(PAPER.encode()),
        "2301/2301.00002.gz": gzip.compress(
            tar(
                {
                    "ms.tex": b"\\documentclass{a}\\begin{document}\\input{sec/one}"
                    b"\\input{../../etc/passwd}\\input{/etc/passwd}\\end{document}",
                    "sec/one.tex": "\\section{Un} caf\xe9 \\include{ms}".encode("latin-1"),
                    "../../evil.tex": b"\\documentclass{a}",
                }
            )
        ),
        "2301/2301.00003.pdf": b"%PDF-1.5",
        "2301/2301.00004.gz": gzip.compress(b"%PDF-1.5"),
        "2301/2301.00005.gz": gzip.compress(b"%auto-ignore\nwithdrawn"),
        "2301/2301.00006.gz": b"\x1f\x8b broken",
        "2301/2301.00007.gz": gzip.compress(b"\\documentclass{a}\\begin{document}No header."),
        "2301/2301.00008.gz": gzip.compress(tar({"figure.eps": b"%!PS"})),
    }
    (tmp_path / "src_001.tar").write_bytes(tar(members))
    documents, funnel = collect(tmp_path)
    assert [d.id for d in documents] == ["arxiv:2301.00001", "arxiv:2301.00002"]
    assert documents[0].text == CLEAN
    assert documents[1].text == "\\section{Un} café"
    assert documents[0].uri == "src_001.tar#2301/2301.00001.gz"
    assert rejected(funnel) == {
        "PDF only": 2, "withdrawn": 1, "corrupt gzip": 1, "no section header": 1,
        "no LaTeX file": 1,
    }  # fmt: skip


def test_folder_of_papers_shares_a_preamble(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book/preamble.tex").write_text("\\documentclass{b}\\def\\N{\\mathbb{N}}")
    for name in ("one", "two"):
        (tmp_path / f"book/{name}.tex").write_text(
            f"\\input{{preamble}}\n\\begin{{document}}\\section{{{name}}} $\\N$\\end{{document}}"
        )
    (tmp_path / "book/my.bib").write_text("@book{a}")
    documents, funnel = collect(tmp_path)
    assert [d.text for d in documents] == [
        "\\section{one} $\\mathbb{N}$",
        "\\section{two} $\\mathbb{N}$",
    ]
    assert rejected(funnel) == {"no LaTeX file": 1}


def test_cut_archive_gives_the_papers_before_the_damage(tmp_path: Path) -> None:
    data = tar({f"a/{i}.gz": gzip.compress(PAPER.encode()) for i in range(3)})
    (tmp_path / "cut.tar").write_bytes(data[:2700])
    documents, funnel = collect(tmp_path)
    assert [d.id for d in documents] == ["arxiv:0", "arxiv:1"]
    assert funnel.bad_files == [{"path": "cut.tar", "reason": "corrupt archive"}]


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ("a % b\nc", "a \nc"),
        ("a\n  % whole line\nc", "a\nc"),
        (r"50\% of", r"50\% of"),
        ("line\\\\% remark", "line\\\\"),
        ("end%", "end"),
        (r"\url{http://a.org/x%20y} z % r", r"\url{http://a.org/x%20y} z "),
        ("\\begin{alltt}\n% kept\n\\end{alltt}", "\\begin{alltt}\n% kept\n\\end{alltt}"),
        ("a\n\\begin{comment}\nx\n\\end{comment}\nb", "a\n\nb"),
    ],
)  # fmt: skip
def test_comments(source: str, clean: str) -> None:
    assert latex.strip_comments(source) == clean


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        (r"\newcommand{\a}{A}\a, {\a}b \a", "A, {A}b A"),
        (r"\def\a{\b}\def\b{B}\a", "B"),  # used before its parts are known
        (r"\newcommand\f[2]{#2-#1}\f{x}{y} \f12", "y-x 2-1"),
        (r"\newcommand{\al}{\alpha}\al{}x $\al_1$", r"\alpha{}x $\alpha_1$"),
        (r"\DeclareMathOperator{\Hom}{Hom}\Hom(A)", r"\operatorname{Hom}(A)"),
        (r"\newcommand{\o}[1][x]{#1}\o", r"\o"),  # optional argument: left as written
        (r"\newcommand{\ab}{X}\abc \ab", r"\abc X"),
        (r"\renewcommand{\vec}[1]{\bm{\vec{#1}}}\vec{v}", r"\bm{\vec{v}}"),
    ],
)
def test_macros(source: str, clean: str) -> None:
    assert expand(source) == clean


def test_macro_bomb_is_bounded() -> None:
    names = "abcdefghijkl"
    bomb = "".join(f"\\def\\{x}{{" + f"\\{y}{{}}" * 10 + "}" for x, y in itertools.pairwise(names))
    assert len(expand(bomb + r"\def\l{boom}\a", limit=5000)) < 200_000


@pytest.mark.parametrize("kind", ["section", "subparagraph", "paragraph", "chapter*"])
def test_every_section_header_counts(kind: str) -> None:
    source = f"\\begin{{document}}front \\{kind}{{A}} text"
    assert latex.body_from_first_section(source) == f"\\{kind}{{A}} text"


@pytest.mark.parametrize(
    "unit",
    [r"\begin{verbatim}", r"\begin{comment}", r"\newcommand{\x}{", r"\begin{thebibliography}",
     r"\input{", r"\f{", r"\section", "%\n", r"\url{%", r"\printbibliography[",
     r"\newcommand{\x}[", r"\newcommand{\x}" + " " * 100_000 + "y", "\\def\\x" + "\n" * 100_000,
     r"\DeclareMathOperator\x" + " " * 100_000, r"\input" + " " * 100_000],
)  # fmt: skip
def test_source_made_to_stall_is_read_quickly(unit: str) -> None:
    source = r"\newcommand{\f}[1]{#1}\begin{document}\section{A}" + unit * (400_000 // len(unit))
    started = time.monotonic()
    text, macros = latex.take_definitions(latex.resolve_inputs("a.tex", {"a.tex": source}))
    body = latex.body_from_first_section(text)
    assert body is not None
    latex.expand_macros(body, macros, 100_000)
    assert time.monotonic() - started < 15


def test_commands_that_only_begin_like_input_stay() -> None:
    source = (
        r"\includegraphics{a} \inputencoding{utf8} \includeonly{a} \include a \input a,"
        r" \input{a} \include {a}"
    )
    assert latex.resolve_inputs("m.tex", {"m.tex": source, "a.tex": "A", "a,": "B"}) == (
        r"\includegraphics{a} \inputencoding{utf8} \includeonly{a} \include a B A A"
    )
