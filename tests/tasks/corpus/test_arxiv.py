"""arXiv: LaTeX cleaning rules and the two layouts, on papers of our own."""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
import time
from pathlib import Path

import pytest

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import arxiv, arxiv_papers, latex, latex_inputs
from tasks.corpus.sources.latex_comments import reveal, strip_comments
from tasks.corpus.sources.latex_macros import Macros

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
    return list(arxiv.read(root, files, CorpusParameters(), funnel)), funnel


def rejected(funnel: Funnel) -> dict[str, int]:
    return {k: v for row in funnel.rows() for k, v in row["rejected"].items()}


def left_out(funnel: Funnel) -> dict[str, int]:
    """What papers are left without, which is no document of the funnel."""
    return {k: v for row in funnel.rows() for k, v in row.get("changed", {}).items()}


def expand(text: str, limit: int = 1000) -> str:
    return reveal(Macros(limit).expand(text)).strip()


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
    assert left_out(funnel) == {
        "path outside the paper": 1, "part not in the paper": 2, "part includes itself": 1
    }  # fmt: skip
    assert funnel.rows()[0]["documents_in"] == len(members)
    assert documents[1].meta["parts_lost"] == 3 and documents[1].meta["files_refused"] == 1


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
    assert funnel.bad_files == [{"path": "cut.tar", "reason": "corrupt archive", "offset": 2}]


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
    assert reveal(strip_comments(source)) == clean


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        (r"\newcommand{\a}{A}\a, {\a}b \a", "A, {A}b A"),
        (r"\def\a{\b}\def\b{B}\a", "B"),  # used before its parts are known
        (r"\newcommand\f[2]{#2-#1}\f{x}{y} \f12", "y-x 2-1"),
        (r"\newcommand{\al}{\alpha}\al{}x $\al_1$", r"\alpha{}x $\alpha_1$"),
        (r"\DeclareMathOperator{\Hom}{Hom}\Hom(A)", r"\operatorname{Hom}(A)"),
        (r"\newcommand{\o}[1][x]{#1}\o \o[y]", "x y"),
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
    assert latex.body_from_first_section(source, 0) == (f"\\{kind}{{A}} text", 0)


@pytest.mark.parametrize(
    "unit",
    [r"\begin{verbatim}", r"\begin{comment}", r"\newcommand{\x}{", r"\begin{thebibliography}",
     r"\input{", r"\f{", r"\section", "%\n", r"\url{%", r"\printbibliography[",
     r"\newcommand{\x}[", r"\newcommand{\x}" + " " * 100_000 + "y", "\\def\\x" + "\n" * 100_000,
     r"\DeclareMathOperator\x" + " " * 100_000, r"\input" + " " * 100_000, "\\begin{comment}%",
     "".join(f"\\verb{chr(mark)}" for mark in range(0x4E00, 0x9E00)), r"\lstinline[", r"\o[",
     r"\let\x", r"\long", r"\def\x#1", r"\o", r"\import{a}{", r"\begin{document}", "\\",
     r"\def\x{" + "#1" * 9_000 + "}" + r"\x " * 100, r"\f", r"\newcommand{\x}{\ifx}\x"],
)  # fmt: skip
def test_source_made_to_stall_is_read_quickly(unit: str) -> None:
    head = r"\newcommand{\f}[1]{#1}\newcommand{\o}[2][x]{#1}\begin{document}\section{A}"
    source = head + unit * (400_000 // len(unit))
    started = time.monotonic()
    resolved = latex_inputs.resolve_inputs("a.tex", {"a.tex": source})
    assert latex.body_from_first_section(resolved.text, 100_000) is not None
    assert time.monotonic() - started < 15


def test_commands_that_only_begin_like_input_stay() -> None:
    source = (
        r"\includegraphics{a} \inputencoding{utf8} \includeonly{a} \include a \input a,"
        r" \input{a} \include {a}"
    )
    resolved = latex_inputs.resolve_inputs("m.tex", {"m.tex": source, "a.tex": "A", "a,": "B"})
    assert resolved.text == (
        r"\includegraphics{a} \inputencoding{utf8} \includeonly{a} \include a B A A"
    )


def test_a_part_stays_apart_from_the_command_before_it() -> None:
    files = {"m.tex": r"\alpha\input{a}\input{b}c \input{a}", "a.tex": "A", "b.tex": r"\beta"}
    assert latex_inputs.resolve_inputs("m.tex", files).text == r"\alpha A\beta c A"


def paper(root: Path, *bodies: str, head: str = "", **files: str) -> str:
    """Text of one paper in the bulk layout: a section, then ``bodies`` one below the other."""
    main = "\n".join(
        ["\\documentclass{article}", head, "\\begin{document}", "\\section{S}", *bodies,
         "\\end{document}"]
    )  # fmt: skip
    members = {"main.tex": main.encode()}
    members |= {name.replace("__", "/") + ".tex": text.encode() for name, text in files.items()}
    (root / "one.tar").write_bytes(tar({"2301/2301.1.gz": gzip.compress(tar(members))}))
    (document,), _ = collect(root)
    return document.text


@pytest.mark.parametrize(
    "block",
    [
        "\\begin{verbatim}\n\\end{document}\n\\end{verbatim}",
        "\\begin{verbatim}\n100% of it   \n\n\n\n% and a line\n\\end{verbatim}",
        '\\begin{lstlisting}[language=C]\nprintf("%d"); // \\begin{verbatim}\n\\end{lstlisting}',
        "\\begin{minted}[linenos]{tex}\n\\section{No} \\input{part}\n\\end{minted}",
        "\\begin{Verbatim}\n\\begin{thebibliography}\n\\bibliography{x}\n\\end{Verbatim}",
        "\\begin{verbatim}\n\\begin{comment}\n\\newcommand{\\x}{y} \\e{}\n\\end{verbatim}",
        "\\verb|%| and \\verb*+\\end{document}+ and \\verb!\\e! \\lstinline{%} \\mintinline{c}|%d|",
        "\\lstinline[language=C]|%s| \\verb|\\begin{comment}| \\verb+\\begin{verbatim}+ end",
    ],
)
def test_verbatim_text_is_text(tmp_path: Path, block: str) -> None:
    text = paper(tmp_path, block, "After \\e. % remark", head="\\newcommand{\\e}{E}", part="P")
    assert text == f"\\section{{S}}\n{block}\nAfter E."


def test_markers_in_verbatim_before_the_first_section_do_not_count(tmp_path: Path) -> None:
    head = (
        "\\begin{filecontents}{a.tex}\n\\begin{document}\\section{No}\n\\end{filecontents}\n"
        "\\newcommand{\\head}[1]{\\section{#1}}"
    )
    assert paper(tmp_path, "A", head=head) == "\\section{S}\nA"


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ("a \\\\begin{verbatim} % b", "a \\\\begin{verbatim}"),  # a line break, then words
        ("% \\begin{verbatim}\na % b\n% \\end{verbatim}", "a"),
        ("\\verbatiminput{x} % b", "\\verbatiminput{x}"),
        ("\\verb|open % b\nc", "\\verb|open\nc"),
        ("\\begin{comment}\nx\n% \\end{comment}\ny\n\\end{comment}\nb", "\nb"),
        ("\\begin{verbatim} % never closed", "\\begin{verbatim}"),
    ],
)
def test_what_only_looks_verbatim(tmp_path: Path, source: str, clean: str) -> None:
    assert paper(tmp_path, source) == f"\\section{{S}}\n{clean}".strip()


@pytest.mark.parametrize(
    ("head", "body", "clean"),
    [
        # What is put in place of its uses goes, wherever it stands.
        (r"\newcommand{\o}[1][x]{<#1>}", r"\o, \o[y], \o{}", "<x>, <y>, <x>{}"),
        (r"\newcommand{\n}[1]{|#1|}", r"$\n{a+\n{b}}$", "$|a+|b||$"),
        (r"\def\b{\f}\newcommand{\f}[1]{(#1)}", r"\b{x}", "(x)"),
        (r"\long\def\p#1{[#1]}", r"\p{x}", "[x]"),
        (r"\providecommand{\e}{A}\providecommand{\e}{B}", r"\e", "A"),
        (r"\newcommand{\e}{A}", r"\e \renewcommand{\e}{B}\e", "A B"),
        (r"\newcommand{\e}{a \iff b.\@ @ c}", r"\e", r"a \iff b.\@ @ c"),
        ("", r"\def\pair#1,#2;{(#1)}\pair a,b;", "(a)"),
        (r"\let\old=\phi \renewcommand{\phi}{[\old]}", r"\phi", r"[\phi]"),
        # What cannot be put in stays where it stands ...
        ("", r"\def\to#1 to #2;{(#1)}\to a to b;", r"\def\to#1 to #2;{(#1)}\to a to b;"),
        ("", r"\newcommand{\x}{\ifmmode a\fi} \x", r"\newcommand{\x}{\ifmmode a\fi} \x"),
        # ... and, from before the first section, ahead of it if the text uses it.
        (r"\def\p#1 to {(#1)}\def\no#1,{}", r"\p a to b", r"\def\p#1 to {(#1)}^\p a to b"),
        (r"\edef\e{a}\let\old\e", r"\old", "\\edef\\e{a}\n\\let\\old\\e^\\old"),
        (r"\newcommand{\R}{R}\edef\x{\R}", r"\x", "\\newcommand{\\R}{R}\n\\edef\\x{\\R}^\\x"),
        (r"\makeatletter\def\a@b[#1]{}\def\a{\@ifnextchar[\a@b{}}", r"\a[x]",
         "\\def\\a@b[#1]{}\n\\def\\a{\\@ifnextchar[\\a@b{}}^\\a[x]"),
        (r"\newcommand{\f}[1]{<#1>}", r"\f{x} {\f}", r"\newcommand{\f}[1]{<#1>}^<x> {\f}"),
        (r"\renewcommand{\thefootnote}{\ifx a}", r"\thefootnote", r"\thefootnote"),  # LaTeX's own
    ],
)  # fmt: skip
def test_a_definition_stays_where_its_uses_stay(
    tmp_path: Path, head: str, body: str, clean: str
) -> None:
    before, mark, after = clean.rpartition("^")
    assert paper(tmp_path, body, head=head) == (
        f"{before}\n\\section{{S}}\n{after}" if mark else f"\\section{{S}}\n{clean}"
    )


def test_parts_in_folders_are_put_in_and_lost_ones_counted(tmp_path: Path) -> None:
    main = (
        "\\documentclass{article}\\newcommand{\\q}{Q}\\begin{document}\\section{S}"
        " \\input{./sections/intro} \\include{sections/proof.tex} \\subfile{sections/own}"
        " \\input{gone} \\input main \\import{sections/}{deep} \\newcommand{\\get}[1]{\\input{#1}}"
        " \\input{../secret} \\input{sections/../../secret} \\input{/etc/passwd} End\\end{document}"
    )
    parts = {
        "sections/intro.tex": "Intro \\input{sections/deep/a} \\input{deep/b}",
        "sections/proof.tex": "Proof",
        "sections/deep/a.tex": "A",
        "sections/deep/b.tex": "B",
        "sections/deep.tex": "Deep",
        "sections/own.tex": "\\documentclass[../main]{subfiles}\\section{No}"
        "\\begin{document}" + "Own \\q " * 50 + "\\end{document} not this",
        "sections/unused.tex": "Old",
    }
    folder = tmp_path / "folder/corpus"
    for name, text in {"main.tex": main, **parts}.items():
        (folder / "paper" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "paper" / name).write_text(text)
    (folder / "secret.tex").write_text("SECRET")
    archive = tmp_path / "archive"
    archive.mkdir()
    packed = tar({"./main.tex": main.encode(), **{n: t.encode() for n, t in parts.items()}})
    (archive / "one.tar").write_bytes(tar({"2301/2301.1.gz": gzip.compress(packed)}))
    for root, unused in ((folder, {"part of no paper": 2}), (archive, {})):
        (document,), funnel = collect(root)
        assert " ".join(document.text.replace("Own Q ", "").split()) == (
            "\\section{S} Intro A B Proof Deep End"
        )
        assert document.text.count("Own Q") == 50
        assert document.meta["parts"] == 6
        assert document.meta["parts_lost"] == 5
        counts = {row["filter"]: row for row in funnel.rows()}
        lost = {"part not in the paper": 4, "part includes itself": 1}
        assert counts["read"]["rejected"] == unused and left_out(funnel) == lost
        assert counts["read"]["characters_out"] == counts["main file"]["characters_in"]
        assert counts["main file"]["characters_out"] == counts["section"]["characters_in"]


def test_lost_members_of_a_paper_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arxiv_papers, "MAX_TEX_BYTES", 2000)
    monkeypatch.setattr(arxiv_papers, "MAX_MEMBERS", 4)
    members = {
        "main.tex": PAPER.encode(), "big.tex": b"x" * 3000, "../evil.tex": b"x", "a.eps": b"",
        "late.tex": b"x", "later.tex": b"x",
    }  # fmt: skip
    papers = {
        "1.gz": gzip.compress(tar(members)),
        "2.gz": gzip.compress(PAPER.encode() + b"%" * 2000),
    }
    (tmp_path / "one.tar").write_bytes(tar(papers))
    documents, funnel = collect(tmp_path)
    assert len(documents) == 1
    assert rejected(funnel) == {"file too large": 1}
    assert left_out(funnel) == {
        "file too large": 1, "path outside the paper": 1, "too many files in a paper": 2,
    }  # fmt: skip


def test_parts_made_to_explode_are_bounded() -> None:
    files = {f"{n}.tex": f"\\input{{{n + 1}}}" * 200 for n in range(9)} | {"9.tex": ""}
    started = time.monotonic()
    resolved = latex_inputs.resolve_inputs("0.tex", files)
    assert time.monotonic() - started < 5
    assert resolved.lost["too many parts"] > 0


def test_parts_of_a_folder_s_paper_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is neither loaded nor called a part of no paper, but a lost part."""
    head = "\\documentclass{article}\\begin{document}\\section{S}"
    numbers = range(20)
    inputs = "".join(f" \\input{{parts/{n}}}" for n in numbers)
    (tmp_path / "parts").mkdir()
    (tmp_path / "main.tex").write_text(f"{head}{inputs} End\\end{{document}}")
    for n in numbers:
        (tmp_path / f"parts/{n}.tex").write_text("%" * 1000 + f"\nPart {n}.")
    for limit, kept, reason in (
        ("MAX_CHARACTERS", 3, "parts too large"),
        ("MAX_PARTS", 4, "too many parts"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(latex_inputs, limit, 4000 if limit == "MAX_CHARACTERS" else 4)
            (document,), funnel = collect(tmp_path)
        words = [f"Part {n}." for n in range(kept)]
        assert " ".join(document.text.split()) == " ".join(["\\section{S}", *words, "End"])
        assert document.meta["parts"] == kept and document.meta["parts_lost"] == 20 - kept
        counts = {row["filter"]: row for row in funnel.rows()}
        assert counts["main file"]["changed"] == {reason: 20 - kept}
        assert counts["read"]["documents_in"] == 1
        loaded = (tmp_path / "main.tex").stat().st_size + 1008 * kept
        assert counts["read"]["characters_out"] == loaded
        assert counts["main file"]["characters_in"] == loaded
