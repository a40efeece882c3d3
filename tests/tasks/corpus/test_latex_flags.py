"""Flags that a paper declares with ``\\newif``: decided where they are certain, else kept."""

from __future__ import annotations

import pytest

from tasks.corpus.sources import latex, latex_inputs
from tasks.corpus.sources.latex_conditionals import drop_false, end_of_input
from tasks.corpus.sources.latex_flags import without_flags

SHORT_OR_LONG = r"\iflong LONG\else SHORT\fi"


def cleaned(head: str, body: str, **parts: str) -> str:
    """Text of a paper; its section header as a bar."""
    source = rf"\documentclass{{a}}{head}\begin{{document}}\section{{S}}{body}\end{{document}}"
    files = {"a.tex": source} | {f"{name}.tex": text for name, text in parts.items()}
    result = latex.body_from_first_section(latex_inputs.resolve_inputs("a.tex", files).text, 1000)
    assert result is not None
    return result[0].replace("\\section{S}", "|")


@pytest.mark.parametrize(
    ("head", "body", "clean"),
    [
        (r"\newif\iflong\longtrue", SHORT_OR_LONG, "| LONG"),
        (r"\newif\iflong", SHORT_OR_LONG, "| SHORT"),  # false at first
        ("\\newif\\iflong\n\\longtrue\n\\longfalse", SHORT_OR_LONG, "| SHORT"),
        (r"\newif \iflong \longtrue", rf"{{{SHORT_OR_LONG}}}{SHORT_OR_LONG}", "|{ LONG} LONG"),
        (r"\newif\iflong\newif\iflonger\longertrue", rf"{SHORT_OR_LONG}\iflonger L\fi",
         "| SHORT L"),
        # the value at that place, and in a macro the one at its use
        (r"\newif\iflong\iflong\def\a{1}\else\def\a{2}\fi\longtrue", rf"\a{SHORT_OR_LONG}",
         "|2 LONG"),
        (r"\newif\iflong\newcommand{\x}[2]{\iflong#1\else#2\fi}\longtrue", r"\x{a}{b}", "|a"),
        (r"\newif\iflong\longtrue", r"\iflong a\ifmmode b\else c\fi\iflong d\fi\else e\fi",
         r"| a\ifmmode b\else c\fi d"),
        (r"\makeatletter\newif\if@long\@longtrue\makeatother", r"\makeatletter\if@long a\fi",
         r"|\makeatletter a"),
        # not certain: it stays, and its definition is kept
        (r"\newif\iflong\longtrue", rf"\longfalse {SHORT_OR_LONG}",
         "\\newif\\iflong\\longtrue\n|\\longfalse " + SHORT_OR_LONG),
        (r"\newif\iflong\ifx\x\y\longtrue\fi", SHORT_OR_LONG, "\\newif\\iflong\n|" + SHORT_OR_LONG),
        (r"\newif\iflong\newcommand{\all}{\longtrue}", SHORT_OR_LONG,
         "\\newif\\iflong\n|" + SHORT_OR_LONG),
        (r"\newif\iflong\AtBeginDocument{\longtrue}", SHORT_OR_LONG,
         "\\newif\\iflong\n|" + SHORT_OR_LONG),
        (r"\newif\iflong\begingroup\longtrue\endgroup", SHORT_OR_LONG,
         "\\newif\\iflong\n|" + SHORT_OR_LONG),
        (r"\ifx\x\y\newif\iflong\fi", SHORT_OR_LONG, "\\newif\\iflong\n|" + SHORT_OR_LONG),
        (r"\newif\iflong\let\iflong\iftrue", SHORT_OR_LONG, "\\let\\iflong\\iftrue\n|"
         + SHORT_OR_LONG),
        (r"\newif\iflong", r"\unless\iflong a\fi", "\\newif\\iflong\n|\\unless\\iflong a\\fi"),
        # what is not closed in its group stays as it is
        (r"\newif\iflong", r"{\iflong a}\fi", "\\newif\\iflong\n|{\\iflong a}\\fi"),
        ("", r"\newif\iflong\longtrue " + SHORT_OR_LONG, r"|\newif\iflong\longtrue "
         + SHORT_OR_LONG),
        ("", SHORT_OR_LONG, "|" + SHORT_OR_LONG),  # another's
    ],
)  # fmt: skip
def test_flags(head: str, body: str, clean: str) -> None:
    assert cleaned(head, body) == clean


def test_a_flag_decides_over_parts() -> None:
    head = r"\input{options}"
    body = r"\iflong\input{proofs}\else Omitted.\fi"
    parts = {"proofs": "Proofs."}
    assert cleaned(head, body, options=r"\newif\iflong\longtrue", **parts) == "| Proofs."
    assert cleaned(head, body, options=r"\newif\iflong", **parts) == "| Omitted."


def test_a_flag_that_a_package_sets_is_not_certain() -> None:
    text = rf"\newif\iflong\begin{{document}}{SHORT_OR_LONG}"
    assert without_flags(text, [r"\longertrue"]) == r"\newif\iflong\begin{document} SHORT"
    assert without_flags(text, [r"\DeclareOption{full}{\longtrue}"]) == text


def test_compared_conditionals_open_nothing() -> None:
    assert drop_false(r"\ifx\iflong\iftrue a\else b\fi c") == r"\ifx\iflong\iftrue a\else b\fi c"
    assert drop_false(r"\ifx\a\b\iffalse a\fi\fi c") == r"\ifx\a\b\fi c"
    assert drop_false(r"\iffalse\ifx\a\fi b\fi c") == " c"


@pytest.mark.parametrize(
    "setter",
    [r"\setboolean{long}{true}", r"\setboolean {long} {true}", r"\setbool{long}{true}",
     r"\booltrue{long}", r"\boolfalse{long}", r"\providebool{long}", r"\newboolean{long}",
     r"\csname longtrue\endcsname", r"\csname  longfalse \endcsname",
     r"\def\mode{long}\csname\mode true\endcsname",
     r"\newcommand{\on}[1]{\csname #1true\endcsname}\on{long}", r"\@nameuse{longtrue}",
     r"\let\showall\longtrue\showall"],
)  # fmt: skip
def test_a_flag_that_is_set_by_its_name_is_not_certain(setter: str) -> None:
    text = rf"\newif\iflong{setter}\begin{{document}}{SHORT_OR_LONG}"
    assert without_flags(text) == text
    text = rf"\newif\iflong\begin{{document}}{SHORT_OR_LONG}"
    assert without_flags(text, [setter]) == text
    assert without_flags(text, [r"\setboolean{longer}{true}"]) != text


def test_flags_stay_where_a_part_of_the_preamble_is_not_there() -> None:
    head = r"\newif\iflong"
    kept = "\\newif\\iflong\n|" + SHORT_OR_LONG
    assert cleaned(rf"{head}\input{{settings}}", SHORT_OR_LONG) == kept
    assert cleaned(rf"{head}\input{{settings}}", SHORT_OR_LONG, settings=r"\longtrue") == "| LONG"
    assert cleaned(head, rf"\input{{figure}}{SHORT_OR_LONG}") == "| SHORT"  # a part of the body


@pytest.mark.parametrize(
    ("text", "end"),
    [("a\n\\endinput\nb", "a\n"),
     ("\\ifx\\done\\undefined\\else\n\\endinput\n\\fi\nb", None),
     ("\\newif\\ifa\n\\endinput\nb", "\\newif\\ifa\n"),
     ("\\ifa x\\fi\n\\endinput\nb", "\\ifa x\\fi\n"),
     ("\\ifthenelse{a}{b}{c}\n\\endinput\nb", "\\ifthenelse{a}{b}{c}\n"),
     ("\\ifa\n\\endinput\n\\fi b\n\\endinput\nc", "\\ifa\n\\endinput\n\\fi b\n")],
)  # fmt: skip
def test_a_guard_ends_no_file(text: str, end: str | None) -> None:
    assert text[: end_of_input(text)] == (text if end is None else end)
