"""Defects of the public replica's LaTeX cleaning, each shown not to be ours."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tasks.corpus import language
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import arxiv


def clean(root: Path, body: str, head: str = "", encoding: str = "utf-8") -> Document | None:
    """The document of a paper in the bulk layout, whose members all carry the same late date."""
    source = f"\\documentclass{{article}}\n{head}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    data = gzip.compress(source.encode(encoding))
    with tarfile.open(root / "bulk.tar", "w") as bulk:
        info = tarfile.TarInfo("0704/0704.0001.gz")
        info.size, info.mtime = len(data), 1_700_000_000
        bulk.addfile(info, io.BytesIO(data))
    documents = list(arxiv.read(root, ["bulk.tar"], CorpusParameters(), Funnel("arxiv")))
    return documents[0] if documents else None


def text(root: Path, body: str, head: str = "", encoding: str = "utf-8") -> str:
    document = clean(root, body, head, encoding)
    assert document is not None
    return document.text


@pytest.mark.parametrize(
    "header",
    [r"\paragraph{A}", r"\subparagraph{A}", r"\paragraph*{A}", r"\subparagraph[a]{A}",
     r"\section {A}", r"\chapter{A}", r"\part{A}", r"\subsubsection*{A}"],
)  # fmt: skip
def test_each_kind_of_header_alone_begins_the_text(tmp_path: Path, header: str) -> None:
    """The replica's pattern never matches ``\\paragraph`` or ``\\subparagraph``."""
    assert text(tmp_path, f"\\title{{T}} front {header} Text.") == f"{header} Text."


def test_a_paper_without_header_is_rejected_not_kept_with_its_front(tmp_path: Path) -> None:
    """One port of the replica never writes the emptied text back."""
    assert clean(tmp_path, "\\begin{abstract}A.\\end{abstract} Text.") is None


def test_the_abstract_goes_with_what_stands_before_the_first_section(tmp_path: Path) -> None:
    body = "\\begin{abstract}Short.\\end{abstract}\\maketitle\\section{A} Text."
    assert text(tmp_path, body) == "\\section{A} Text."


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("end of a sentence.% remark", "end of a sentence."),  # not: "end of a sentence"
        ("a bare sign%\nat the line's end", "a bare sign\nat the line's end"),
        ("50\\% of\\\\% remark", "50\\% of\\\\"),
        ("word % remark 50\\% % again", "word"),
    ],
)
def test_comments_take_nothing_but_themselves(tmp_path: Path, body: str, kept: str) -> None:
    assert text(tmp_path, f"\\section{{A}} {body}") == f"\\section{{A}} {kept}"


@pytest.mark.parametrize(
    ("head", "body", "kept"),
    [
        # with arguments; a closing brace that does not end its line
        ("\\newcommand{\\f}[2]{#2 of #1} \\newcommand{\\g}{G} % two on a line",
         "\\f{a}{b} \\g.", "b of a G."),
        ("\\newcommand{\\f}[1]\n{%\n  <#1>%\n}", "\\f{a}", "<a>"),
        # nested, whatever the order of the definitions
        ("\\def\\a{\\b!}\\def\\b{\\c\\c}\\def\\c{x}", "\\a", "xx!"),
        ("\\def\\c{x}\\def\\b{\\c\\c}\\def\\a{\\b!}", "\\a", "xx!"),
        # the very last characters, and a name that begins another's
        ("\\def\\al{\\alpha}", "$\\all \\al$ \\al", "$\\all \\alpha$ \\alpha"),
        # definitions in the body are not rewritten by the macro that they define anew
        ("\\def\\a{x}", "\\a\\renewcommand{\\a}{y}\\a", "xy"),
        ("\\newcommand{\\R}{\\mathbb R}", "$\\R$\\verb|\\R|", "$\\mathbb R$\\verb|\\R|"),
    ],
)  # fmt: skip
def test_macros_are_expanded_as_latex_would(
    tmp_path: Path, head: str, body: str, kept: str
) -> None:
    assert text(tmp_path, f"\\section{{A}} {body}", head) == f"\\section{{A}} {kept}"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16"])
def test_no_encoding_is_dropped(tmp_path: Path, encoding: str) -> None:
    assert text(tmp_path, "\\section{A} Poincaré", "", encoding) == "\\section{A} Poincaré"


def test_the_language_model_is_loaded_once(tmp_path: Path) -> None:
    language._detector.cache_clear()
    for _ in range(3):
        text(tmp_path, "\\section{A} Some words of English.")
    assert language._detector.cache_info().misses == 1


def test_the_date_is_not_the_archive_s(tmp_path: Path) -> None:
    document = clean(tmp_path, "\\section{A} Text.")
    assert document is not None and document.created == "2007-04"


def test_the_appendix_stays(tmp_path: Path) -> None:
    """The replica cuts from it on; the paper takes out the bibliography alone."""
    body = "\\section{A} a \\bibliography{x} \\appendix \\section{B} b"
    assert text(tmp_path, body) == "\\section{A} a  \\appendix \\section{B} b"
