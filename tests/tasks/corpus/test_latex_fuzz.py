"""LaTeX that nobody wrote: it never raises, ends, and takes time in proportion to its length."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.sources import latex, latex_inputs
from tasks.corpus.sources.latex_bibliography import without_bibliography
from tasks.corpus.sources.latex_encoding import declared, decode
from tasks.corpus.sources.latex_macros import MAX_CHARACTERS

HEAD = (
    r"\documentclass{a}\newcommand{\f}[1]{#1}\newcommand{\o}[2][x]{#1}\def\d#1,{(#1)}"
    r"\def\e#1\end#2;{#1}\newenvironment{e}[1]{<#1>}{!}\newenvironment{v}{\verbatim}{}"
    r"\excludecomment{c}\MakeShortVerb{\|}\DeclarePairedDelimiter\abs{|}{|}\let\l\f"
    r"\newcommand{\sect}[1]{\section{#1}}\begin{document}\section{A}"
)
PIECES = [
    *"{}[]%$#&~^_|\\\n ,;*=", "a", "é", "\n\n", "#1", "##", r"\\", r"\%", r"\{", r"\f", r"\o",
    r"\d", r"\e", r"\l", r"\abs", r"\sect", r"\x", r"\y", r"\x ", r"\def\x", r"\def\x#1",
    r"\def\y#1,#2", r"\newcommand{\x}", r"\newcommand\y[2][z]", r"\renewcommand{\f}[1]",
    r"\providecommand\x", r"\newenvironment{x}", r"\newenvironment{y}[1][d]", r"\let\x",
    r"\let\x=\y", r"\global", r"\edef", r"\DeclareMathOperator\x", r"\NewDocumentCommand\x{m m}",
    r"\begin", r"\end", r"\begin{x}", r"\end{x}", r"\begin{e}", r"\end{e}", r"\begin{y}",
    r"\end{y}", r"\begin{v}", r"\end{v}", r"\begin{c}", r"\end{c}", r"\begin{comment}",
    r"\end{comment}", r"\begin{verbatim}", r"\end{verbatim}", r"\begin{document}",
    r"\end{document}", r"\begin{thebibliography}", r"\end{thebibliography}", r"\bibliography{a}",
    r"\printbibliography", r"\section{References}", r"\section", r"\section*{B}", r"\paragraph{C}",
    r"\appendix", r"\iffalse", r"\iftrue", r"\ifx", r"\else", r"\fi", r"\newif\ifx",
    r"\begingroup", r"\endgroup", r"\bgroup", r"\egroup", r"\verb|", r"\verb", r"\lstinline{",
    r"\url{", r"\input{b}", r"\input b", r"\include{a}", r"\subimport{}{b}", r"\input{../x}",
    r"\xspace", r"\documentclass{subfiles}", r"\MakeShortVerb{\!}",
    r"\makeatletter", r"\makeatother", r"\x@y", r"\def\x@y", r"\let\x@y", "@", r"\@namedef{x}",
    r"\expandafter\def\csname x\endcsname", r"\csname", r"\newif\iflong", r"\longtrue",
    r"\longfalse", r"\iflong", r"\usepackage{b}", "\x0c", "\u2028",
]  # fmt: skip
LATEX_ISH = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


def text_of(source: str, expansions: int = 2000, **parts: str) -> str | None:
    files = {"a.tex": source} | {f"{name}.tex": text for name, text in parts.items()}
    sources = latex_inputs.Sources(files)
    latex_inputs.main_file(sources)
    latex_inputs.documents(sources)
    resolved = latex_inputs.resolve_inputs("a.tex", sources)
    cleaned = latex.body_from_first_section(resolved.text, expansions)
    return None if cleaned is None else cleaned[0]


@settings(max_examples=600, deadline=None)
@given(LATEX_ISH, LATEX_ISH)
def test_it_never_raises_and_nothing_stays_veiled(source: str, part: str) -> None:
    for whole in (source, HEAD + source):
        text = text_of(whole, b=part)
        assert text == text_of(whole, b=part)
        if text is not None:
            text.encode()  # a veiled character cannot be
            assert len(text) < MAX_CHARACTERS + 10_000


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text(source: str) -> None:
    source = source.encode("utf-8", "replace").decode()
    text_of(HEAD + source)
    without_bibliography(source)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b c", "x^2", "{d}", "\n"]), max_size=30).map("".join))
def test_text_without_commands_comes_through_as_it_is(words: str) -> None:
    text = text_of(f"\\begin{{document}}\\section{{S}}|{words}|\\end{{document}}")
    assert text is not None
    assert " ".join(text.split()) == " ".join(f"\\section{{S}}|{words}|".split())


@lru_cache(maxsize=1)
def seeds(folder: Path) -> list[str]:
    return [decode(path.read_bytes())[0] for path in sorted(folder.rglob("*.tex"))]


@pytest.mark.data
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_real_papers_with_noise_in_them(arriero_data: Path, data: st.DataObject) -> None:
    """Slices of real sources, with pieces of LaTeX thrown in and pieces taken out."""
    sources = seeds(arriero_data / "corpus/arxiv/open")
    source = data.draw(st.sampled_from(sources))
    start = data.draw(st.integers(0, len(source)))
    text = source[start : start + 20_000]
    for piece in data.draw(st.lists(st.sampled_from(PIECES), max_size=8)):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.sampled_from([0, 0, 1, 100]))
        text = text[:at] + piece + text[at + gone :]
    cleaned = text_of(HEAD + text, 100_000, b=text[:1000])
    assert cleaned is not None
    cleaned.encode()
    assert len(cleaned) < MAX_CHARACTERS + 10_000


@pytest.mark.data
def test_a_cleaned_paper_has_nothing_left_to_clean(arriero_data: Path) -> None:
    """No section header moves, no comment or bibliography is found, at a second cleaning."""
    for source in seeds(arriero_data / "corpus/arxiv/open"):
        once = text_of(source, 100_000)
        if once is None or once.startswith("\\newcommand"):
            continue
        assert text_of(f"\\begin{{document}}{once}", 100_000) == once


UNITS = [
    r"\newcommand{\x}{", r"\newcommand{\x}[", "\\newcommand{\\x}" + " " * 9000 + "y",
    "\\def\\x" + "\n" * 9000, r"\f{", r"\o[", r"\d", r"\d{", r"\d a", r"\d{,", r"\e\end", r"\e{}",
    r"{\d a}", r"\abs{", r"\l{", r"\let\x=\f\let\f=\x", r"\begin{e}", r"\begin{e}{", r"\end{e}",
    r"\begin{e}{a}\end{e}", r"\begin{v}", r"\begin{c}", "|", "|\n", r"\iffalse ", r"\iftrue{",
    r"\iffalse}\fi{", r"\iffalse x\fi ", r"\ifx\iffalse\fi\fi", r"\section{References}",
    r"\section[", r"\section*{References", r"\begin{references}",
    r"\section{References}\begin{figure}", r"\newenvironment{x}{", r"\newenvironment{x}{a}",
    r"\newenvironment{x}{\begin{y}}{\end{y}}\newenvironment{y}{\begin{x}}{\end{x}}\begin{x}",
    r"{\def\x{1}", r"{\def\x{1}}", r"\begingroup\def\x{1}", "{", "}", r"\begin{a}",
    r"\begin{a}\end{b}", r"{\begin{a}}\end{a}", r"\sect", r"\newcommand{\sect}[1]{\section{#1}}",
    "\n", " ", "a \n", " " * 900 + "\n", "é", r"\MakeShortVerb{\!}", r"\newminted{",
    r"\usepackage[x]{y}", r'\input"', r'\input{"', r"\input{a b", r"\begin{", r"\begin {",
    r"\NewDocumentCommand\x{m}", r"\def\x#1,{#1\x}\x a,", r"\def\x#1{\x{#1#1}}\x{a}",
    r"\renewcommand{\f}[1]{\f{#1}\f{#1}}\f{a}", r"\f{\f{\f{\f{\f{\f{\f{\f{\f{\f{a}}}}}}}}}}",
    r"\newif\ifx", r"\makeatletter", r"\makeatletter\x@y\makeatother",
    r"\makeatletter\def\x@y{\z@y}", r"\x@y", r"\expandafter\def\csname", r"\@namedef{",
    r"\newif\iflong\longtrue", r"\iflong{",
    r"\newif\iflong\iflong\longtrue\fi", r"\iflong \fi", "\\longtrue" * 9,
    r"\let\a\iffalse", r"\mintinline[", r"\def\a{\b}\def\b{\c}\def\c{\d}\a",
    "\\verb", "\\", "#1", "%\n", r"\bibliography{",
]  # fmt: skip


def seconds(source: str) -> float:
    """Processor seconds: the lesser of two, for a neighbour's work on the same core slows one."""
    data = source.encode()
    taken = []
    for _ in range(2):
        started = time.process_time()
        text_of(decode(data, declared([data]))[0], 100_000)
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.parametrize("unit", UNITS)
def test_twice_the_text_takes_no_four_times_as_long(unit: str) -> None:
    short, long = (HEAD + unit * (n // len(unit)) for n in (40_000, 80_000))
    first = seconds(short)
    assert seconds(long) < 4 * first + 0.5
    assert first < 3


@pytest.mark.parametrize(
    ("begin", "end"),
    [("{", "}"), (r"\f{", "}"), (r"\begin{e}{", "}"), (r"\iffalse ", r"\fi "), (r"\f{\x{", "}}"),
     (r"\newenvironment{x}{", "}{}"), (r"\def\x{", "}"), (r"\begin{e}{a}", r"\end{e}")],
)  # fmt: skip
def test_nesting(begin: str, end: str) -> None:
    short, long = (
        f"{HEAD}{begin * (n // len(begin + end))}{end * (n // len(begin + end))}"
        for n in (40_000, 80_000)
    )
    first = seconds(short)
    assert seconds(long) < 4 * first + 0.5
    assert first < 3
