"""A paper's own packages: what is taken out of them, and what is left alone."""

from __future__ import annotations

import itertools
import time

import pytest

from tasks.corpus.sources import latex, latex_inputs, latex_packages
from tasks.corpus.sources.latex_packages import own_packages


def resolved(head: str, body: str, packages: dict[str, str], main: str = "main.tex") -> str:
    """Text of a paper with the packages given; its section header as a bar."""
    source = rf"{head}\begin{{document}}\section{{S}}{body}\end{{document}}"
    result = latex_inputs.resolve_inputs(main, {main: source}, {}, packages)
    sections = latex.from_first_section(result.text, result.definitions)
    assert sections is not None
    return latex.expanded(sections.body, sections, 1000).text.replace("\\section{S}", "|")


@pytest.mark.parametrize(
    ("head", "packages"),
    [
        (r"\usepackage{mymac}", {"mymac.sty": r"\newcommand{\zed}{ZED}"}),
        (r"\usepackage[a,b=c]{amsmath, mymac ,x}", {"mymac.sty": r"\def\zed{ZED}"}),
        (r"\documentclass[12pt]{mycls}", {"mycls.cls": r"\newcommand{\zed}{ZED}"}),
        (r"\documentstyle[12pt,mymac]{article}", {"mymac.sty": r"\def\zed{ZED}"}),
        (r"\usepackage{styles/mymac}", {"styles/mymac.sty": r"\def\zed{ZED}"}),
        (r"\input{mymac.sty}", {"mymac.sty": r"\def\zed{ZED}"}),
        (r"\input mymac.sty ", {"mymac.sty": r"\def\zed{ZED}"}),
        (r"\usepackage{a}", {"a.sty": r"\RequirePackage{b}", "b.sty": r"\def\zed{ZED}"}),
        (r"\documentclass{a}", {"a.cls": r"\LoadClass[x]{b}", "b.cls": r"\def\zed{ZED}"}),
        (r"\usepackage{a}", {"a.sty": r"\input{b.sty}", "b.sty": r"\def\zed{ZED}"}),
        (r"\usepackage{a}", {"a.sty": r"\def\zed{ZED}\RequirePackage{a}"}),  # itself
        # the names of a package are its own: an at sign is a letter
        (r"\usepackage{a}", {"a.sty": r"\newcommand{\my@z}[1]{Z#1}\def\zed{\my@z{ED}}"}),
        (r"\usepackage{a}", {"a.sty": r"\def\zed{ZED}" "\n\\endinput\n" r"\def\zed{NO}"}),
        (r"\usepackage{a}", {"a.sty": "%\\def\\zed{NO}\n\\def\\zed{ZED}"}),
        (r"\usepackage{a}", {"a.sty": r"\expandafter\def\csname zed\endcsname{ZED}"}),
        (r"\usepackage{a}", {"a.sty": r"\@namedef{zed}{ZED}"}),
        # the paper's own definition goes before, and one in a group or option is none
        (r"\usepackage{a}\renewcommand{\zed}{ZED}", {"a.sty": r"\newcommand{\zed}{NO}"}),
        (r"\providecommand{\zed}{NO}\usepackage{a}", {"a.sty": r"\newcommand{\zed}{ZED}"}),
        (r"\usepackage{a}", {"a.sty": r"\def\zed{ZED}\DeclareOption{x}{\def\zed{NO}}"}),
        (r"\usepackage{a}", {"a.sty": r"\AtBeginDocument{\def\zed{ZED}}"}),
    ],
)
def test_definitions_of_packages_count(head: str, packages: dict[str, str]) -> None:
    assert resolved(head, r"\zed{}.", packages) == "|ZED{}."


@pytest.mark.parametrize(
    "definition",
    [
        r"\def\zed{\@ifstar{a}{b}}",
        r"\def\zed{\ifmmode a\fi}",
        r"\newcommand{\zed}{\csname x\endcsname}",
        r"\def\zed{\inner}\def\inner{\futurelet\next\x}",  # what it leads to
        r"\def\zed{\my@z}",  # another's
        r"\newdimen\width\def\zed{\width}",
        r"\def\zed{\vskip 1pt plus 2pt a}",
        r"\newcommand{\zed}{A}\if@full\renewcommand{\zed}{B}\fi",  # which of them?
        r"\newif\ifzed\def\zed{a}\def\zed{\ifzed a\fi}",
        "Text of a package.",
    ],
)
def test_what_does_not_stand_for_its_uses_is_left_alone(definition: str) -> None:
    assert resolved(r"\usepackage{a}", r"\zed.", {"a.sty": definition}) == r"|\zed."


def test_what_readers_know_is_left_alone() -> None:
    package = (
        r"\newcommand\section{\@startsection{section}{1}}\def\dfrac{\genfrac{}{}{0pt}0}"
        r"\newenvironment{quote}{\list{}{\rightmargin\leftmargin}\item\relax}{\endlist}"
        r"\newenvironment{proof}{\par\noindent{\em Proof.} }{\par}\def\lim{\qopname\relax m{lim}}"
    )
    body = r"\dfrac12\begin{quote}a\end{quote}\begin{proof}b\end{proof}\lim"
    assert resolved(r"\documentclass{my}", body, {"my.cls": package}) == f"|{body}"


@pytest.mark.parametrize("name", ["amsmath", "AMSmath", "revtex4-1", "neurips_2023", "llncs"])
def test_packages_that_everybody_has_are_not_read(name: str) -> None:
    packages = {f"{name}.sty": r"\def\zed{ZED}", f"{name}.cls": r"\def\zed{ZED}"}
    head = rf"\documentclass{{{name}}}\usepackage{{{name}}}"
    assert resolved(head, r"\zed.", packages) == r"|\zed."


def test_a_macro_of_a_package_begins_a_section() -> None:
    packages = {"a.sty": r"\newcommand{\sect}[1]{\section{#1}\label{#1}}"}
    source = r"\usepackage{a}\begin{document}front \sect{One} a"
    result = latex_inputs.resolve_inputs("m.tex", {"m.tex": source}, {}, packages)
    sections = latex.from_first_section(result.text, result.definitions)
    assert sections is not None
    assert latex.expanded(sections.body, sections, 9).text == r"\section{One}\label{One} a"


def test_environments_and_macros_around_them() -> None:
    packages = {"a.sty": r"\newenvironment{rem}[1]{{\bf #1.} }{!}\def\br{\begin{rem}}"}
    body = r"\br{A}b\end{rem}"
    assert resolved(r"\usepackage{a}", body, packages) == r"|{{\bf A.} b!}"


def test_a_definition_stays_where_a_use_stays() -> None:
    packages = {"a.sty": r"\newcommand{\f}[1]{<#1>}"}
    assert resolved(r"\usepackage{a}", r"\f{x} {\f}", packages) == (
        "\\newcommand{\\f}[1]{<#1>}\n|<x> {\\f}"
    )


def test_nothing_outside_the_paper_is_read() -> None:
    packages = {"b.sty": r"\def\zed{ZED}"}
    for name in ("../b", "/b", "x/../../b", "b.sty", "B", "sub/b"):
        assert resolved(rf"\usepackage{{{name}}}", r"\zed", packages) == r"|\zed"
    assert resolved(r"\usepackage{../b}", r"\zed", packages, "p/main.tex") == "|ZED"
    assert resolved(r"\usepackage{b}", r"\zed", packages, "p/main.tex") == "|ZED"


def test_packages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = {f"{n}.sty": rf"\RequirePackage{{{n + 1}}}\def\zed{{}}" for n in range(50)}
    result = own_packages(r"\usepackage{0}", "m.tex", chain)
    assert len(result.texts) == 11 and result.lost == {"packages nested too deep": 1}
    many = {f"{n}.sty": r"\def\zed{}" for n in range(150)}
    names = ",".join(map(str, range(150)))
    result = own_packages(rf"\usepackage{{{names}}}", "m.tex", many)
    assert len(result.texts) == 100 and result.lost == {"too many packages": 50}
    monkeypatch.setattr(latex_packages, "MAX_CHARACTERS", 95)
    result = own_packages(rf"\usepackage{{{names}}}", "m.tex", many)
    assert len(result.texts) == 9 and result.lost == {"packages too large": 141}


UNITS = [
    r"\usepackage[", r"\usepackage{", r"\usepackage{a}", r"\RequirePackage",
    r"\documentstyle[a,b]{c}",
    r"\input ", r"\input{", r"\def\x{\y}\def\y{\z}", r"\newcommand{\x@y}{\z@y}", r"\def\x{",
    r"\DeclareOption{x}{\def\y{", r"\newif\ifx@", "\\newdimen\\x", "@", "\\", r"\@", r"\csname ",
    r"\expandafter\def\csname x", r"\@namedef{x}{y}", "\\input{a.sty}",
]  # fmt: skip


def seconds(body: str, packages: dict[str, str]) -> float:
    """Processor seconds: the least of three, for one may hold a collection of all test objects."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        assert resolved(r"\usepackage{a}" + packages["a.sty"], body, packages)
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.parametrize("unit", UNITS)
def test_a_hostile_package_takes_time_in_proportion(unit: str) -> None:
    short, long = (
        seconds(r"\x", {"a.sty": unit * (size // len(unit)), "b.sty": r"\def\x{}"})
        for size in (100_000, 200_000)
    )
    assert long < 4 * short + 0.5 and short < 3


def test_many_definitions_that_lead_to_each_other() -> None:
    names = ["".join(chr(97 + int(digit)) for digit in f"{number:05}") for number in range(10_000)]
    chain = "".join(rf"\def\{a}{{\{b}}}" for a, b in itertools.pairwise(names))
    packages = {"a.sty": chain}
    assert seconds(rf"\{names[0]}.", packages) < 3


def test_a_package_that_a_flag_switches_off_is_not_in_force() -> None:
    packages = {"my.sty": r"\newcommand{\note}[1]{}"}
    head = r"\newif\ifarx\arxfalse\ifarx\usepackage{my}\fi\providecommand{\note}[1]{#1}"
    assert resolved(head, r"\note{Kept text.}", packages) == "|Kept text."
    assert resolved(head.replace("false", "true"), r"\note{Left out.}x", packages) == "|x"


def test_a_common_package_is_not_read_by_input_either() -> None:
    packages = {"epsf.sty": r"\def\epsfhelp{HELP}", "mine.sty": r"\def\epsfhelp{HELP}"}
    assert resolved(r"\input{epsf.sty}", r"\epsfhelp", packages) == r"|\epsfhelp"
    assert resolved(r"\input{mine.sty}", r"\epsfhelp", packages) == "|HELP"


def test_a_guard_at_the_top_leaves_the_package() -> None:
    guarded = "\\ifx\\mydone\\undefined\\else\n\\endinput\n\\fi\n\\def\\mydone{}\n"
    assert resolved(r"\usepackage{a}", r"\zed", {"a.sty": guarded + r"\def\zed{Z}"}) == "|Z"
