"""Macros and environments of a paper: what stands for them, and for how long."""

from __future__ import annotations

import pytest

from tasks.corpus.sources import latex, latex_inputs
from tasks.corpus.sources.latex_comments import reveal, strip_comments
from tasks.corpus.sources.latex_groups import delimited, group_ends
from tasks.corpus.sources.latex_macros import Macros


def expand(text: str, limit: int = 1000) -> str:
    return reveal(Macros(limit).expand(text)).strip()


def text_of(source: str, expansions: int = 1000) -> str:
    """Text of a paper given as one file."""
    resolved = latex_inputs.resolve_inputs("a.tex", {"a.tex": source})
    cleaned = latex.body_from_first_section(resolved.text, expansions)
    assert cleaned is not None
    return cleaned[0]


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        # the environment's group stays one
        (r"\newenvironment{rem}{\bf Remark. }{\rm!}\begin{rem}a\end{rem} b",
         r"{\bf Remark. a\rm!} b"),
        # unless it is another environment's
        (r"\newenvironment{prf}{\begin{quote}\it }{\end{quote}}\begin{prf}a\end{prf}",
         r"\begin{quote}\it a\end{quote}"),
        (r"\newenvironment{n}[2][x]{<#1|#2>}{}\begin{n}{a}b\end{n}\begin{n}[y]{a}b\end{n}",
         "{<x|a>b}{<y|a>b}"),
        (r"\newenvironment{o}{[}{]}\newenvironment{i}{(}{)}\begin{o}\begin{i}a\end{i}\end{o}",
         "{[{(a)}]}"),
        # a macro inside, one around, and the environment's own name (LaTeX's of that name)
        (r"\def\e{E}\newenvironment{n}{\e}{\e}\begin{n}a\end{n}", "{EaE}"),
        (r"\newenvironment{n}{<}{>}\newcommand{\b}{\begin{n}}\newcommand{\c}{\end{n}}\b a\c",
         "{< a>}"),
        (r"\renewenvironment{it}{\begin{it}[a]}{\end{it}}\begin{it}b\end{it}",
         r"\begin{it}[a]b\end{it}"),
        # programming stays, its definition with it
        (r"\newenvironment{n}{\list{}{}}{\endlist\fi}\begin{n}a\end{n}",
         r"\newenvironment{n}{\list{}{}}{\endlist\fi}\begin{n}a\end{n}"),
        # an argument lacks: both ends stay
        (r"\newenvironment{n}[1]{<#1>}{!}{\begin{n}} a \end{n}", r"{\begin{n}} a \end{n}"),
        (r"\newenvironment{ n }{<}{>}\begin{ n }a\end{n}", "{<a>}"),
    ],
)  # fmt: skip
def test_environments(source: str, clean: str) -> None:
    assert expand(source) == clean


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        (r"\def\a{1}{\def\a{2}\a}\a", "{2}1"),
        (r"{\def\a{2}\a}\a", r"{2}\a"),
        (r"\begin{x}\newcommand{\a}{2}\a\end{x}\a", r"\begin{x}2\end{x}\a"),
        (r"\begingroup\def\a{2}\a\endgroup\a", r"\begingroup2\endgroup\a"),
        (r"\bgroup\def\a{2}\a\egroup\a", r"\bgroup2\egroup\a"),
        (r"{\gdef\a{2}\a}\a {\global\def\b{3}}\b", "{2}2 {}3"),
        (r"{\def\a{1}{\def\a{2}\a}\a}\def\a{3}\a", "{{2}1}3"),
        (r"{\let\a\b\a}\a", r"{\b}\a"),
        (r"\{\def\a{1}\}\a", r"\{\}1"),  # no braces of a group
        (r"\newcommand{\f}[1]{<#1>}\f{\def\a{1}\a}", "<1>"),
    ],
)
def test_a_definition_ends_with_its_group(source: str, clean: str) -> None:
    assert expand(source) == clean


def test_definitions_of_a_closed_group_before_the_first_section_are_not_in_force() -> None:
    head = r"\documentclass{a}\def\a{0}\begin{document}{\def\a{1}\def\b{2}}{\gdef\c{3}}"
    assert text_of(head + r"\section{S}\a\b\c\end{document}") == r"\section{S}0\b3"


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        (r"\def\ip<#1|#2>{(#1,#2)}\ip<a|b>", "(a,b)"),
        (r"\def\ip<#1|#2>{(#1,#2)}\ip<{a|b}|{c>}>", "(a|b,c>)"),
        (r"\def\f#1.{[#1]}\f a b.c", "[a b]c"),
        (r"\def\q#1\end#2{[#1#2]}\q a\endgroup b\end c", r"[a\endgroup bc]"),
        (r"\def\f#1,{[#1]}\f a", r"\f a"),  # the delimiter lacks
        (r"\def\f#1,{[#1]}\f a\,b,c", r"[a\,b]c"),
        (r"\def\f#1,{[#1]}{\f a},", r"{\f a},"),  # the group ends before it
        ("\\def\\f#1,{[#1]}\\f a\n\nb,", "\\f a\n\nb,"),  # the paragraph does
        (r"\def\f(#1){[#1]}\f(a) \f a", r"[a] \f a"),
    ],
)
def test_delimited_parameters(source: str, clean: str) -> None:
    assert expand(source) == clean


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        (r"\let\eps\varepsilon $\eps x$", r"$\varepsilon x$"),
        (r"\let\eps=\varepsilon\let\e\eps\e", r"\varepsilon"),
        (r"\def\a{1}\let\b\a\def\a{2}\b\a", "12"),  # as it was
        (r"\let\old\phi\def\phi{[\old]}\phi\phi", r"[\phi][\phi]"),
        (r"\let\a=x\a", "x"),
        (r"\let\ifdraft\iffalse\ifdraft a\fi", r"\let\ifdraft\iffalse\ifdraft a\fi"),
        (r"\NewDocumentCommand{\f}{O{x} m m}{#1#2#3}\f{a}{b}\f[y]{a}{b}", "xabyab"),
        (r"\NewDocumentCommand\f{m}{<#1>}\f{a}", "<a>"),
        (r"\NewDocumentCommand\f{s}{\IfBooleanT#1{a}}\f*",
         r"\NewDocumentCommand\f{s}{\IfBooleanT#1{a}}\f*"),
        (r"\DeclarePairedDelimiter{\abs}{\lvert}{\rvert}\abs{x} \abs*{x} \abs[\big]{x}",
         r"\lvert x\rvert \left\lvert x\right\rvert \abs[\big]{x}"),
        (r"\DeclareMathOperator*{\argmin}{arg\,min}\argmin_x", r"\operatorname*{arg\,min}_x"),
        (r"\newcommand{\x}[1]{#1\y}\newcommand{\y}{z}\x{a}b", "azb"),
        (r"\def\a{\alpha}\a b\a{}c \a1", r"\alpha b\alpha{}c \alpha1"),
        (r"\renewcommand{\le}{\le}\le b", r"\le b"),  # apart from the letter, veiled or not
    ],
)  # fmt: skip
def test_other_definitions(source: str, clean: str) -> None:
    assert expand(source) == clean


def test_a_macro_that_begins_a_section_begins_the_text() -> None:
    source = (
        r"\newcommand{\sect}[1]{\section{#1}\label{#1}}\begin{document}front \sect{One} a"
        r" \section{Two} b\end{document}"
    )
    assert text_of(source) == r"\section{One}\label{One} a \section{Two} b"


@pytest.mark.parametrize(
    "bomb",
    [
        r"\def\a{\b\b}\def\b{\a\a}\a",
        r"\def\a{x\a}\a",
        r"\def\a#1{\a{#1#1}}\a{xx}",
        r"\newenvironment{a}{\begin{b}\begin{b}}{}\newenvironment{b}{\begin{a}\begin{a}}{}\begin{a}",
        r"\def\a{\begin{n}}\newenvironment{n}{\a\a}{\a}\a",
        r"\let\a\b\let\b\a\a\b",
        "".join(rf"\def\{chr(97 + n)}#1{{\{chr(98 + n)}{{#1#1#1#1}}}}" for n in range(20))
        + r"\a{x}",
    ],
)
def test_macros_without_end_are_bounded(bomb: str) -> None:
    macros = Macros(5000)
    assert len(macros.expand(bomb)) < 25_000_000
    assert Macros(0).expand(r"\def\a{x}\a") == r"\a"


def test_a_bounded_expansion_says_so() -> None:
    macros = Macros(100)
    macros.expand(r"\def\a{\b\b}\def\b{\a\a}\a")
    assert macros.exhausted
    macros = Macros(100)
    macros.expand(r"\def\a{\b}\def\b{x}\a")
    assert not macros.exhausted


@pytest.mark.parametrize(
    "head",
    [r"\AtBeginDocument{\newcommand{\a}{1}}", r"\ifthenelse{\boolean{x}}{\def\a{1}}{\def\b{2}}",
     r"\makeatletter\@ifundefined{a}{ \def\a{1} }{}", r"\IfFileExists{a.sty} {\def\a{1}}{}"],
)  # fmt: skip
def test_the_cases_of_a_condition_are_no_groups(head: str) -> None:
    source = rf"{head} a{{\def\c{{3}}}}\begin{{document}}\section{{S}}\a\c"
    assert text_of(source) == r"\section{S}1\c"


def test_ends_of_groups() -> None:
    text = r"a{b{c}d\begin{x}e}f"
    at = {letter: text.index(letter) for letter in "abcdf"} | {"e": text.index("e}f")}
    spans = [(at[letter], at[letter] + 1) for letter in "abcdef"]
    outside, close = len(text) + 1, text.index("}f")
    assert group_ends(text, spans) == [outside, close, text.index("}d"), close, close, outside]


@pytest.mark.parametrize(
    ("text", "delimiter", "found"),
    [("a,b", ",", ("a", 2)), ("{a},b", ",", ("a", 4)), ("{a}{b},", ",", ("{a}{b}", 7)),
     ("a}b,", ",", None), (r"\,a,", ",", (r"\,a", 4)), ("", ",", None), (",", ",", ("", 1)),
     (r"a\endx b\end c", r"\end", (r"a\endx b", 12))],
)  # fmt: skip
def test_delimiters(text: str, delimiter: str, found: tuple[str, int] | None) -> None:
    assert delimited(text, 0, delimiter) == found


def test_definitions_in_comments_and_verbatim_text_are_none() -> None:
    source = "% \\def\\a{1}\n\\verb|\\def\\a{2}| \\a"
    assert expand(strip_comments(source)) == r"\verb|\def\a{2}| \a"


def cleaned(head: str, body: str) -> str:
    text = text_of(
        rf"\documentclass{{a}}{head}\begin{{document}}\section{{S}}{body}\end{{document}}"
    )
    return text.replace("\\section{S}", "|")


@pytest.mark.parametrize(
    ("head", "body", "clean"),
    [
        (r"\makeatletter\newcommand{\my@x}{X}\newcommand{\pub}{\my@x}\makeatother", r"\pub", "|X"),
        (r"\makeatletter\newcommand{\pub}{\my@x}\def\my@x{X}\makeatother", r"\pub", "|X"),
        (r"\makeatletter\def\a@f#1#2{(#1,#2)}\def\a@g{\a@f{g}}\def\f{\a@g}\makeatother",
         r"\f{x}", "|(g,x)"),
        (r"\catcode`\@=11 \def\my@x{X}\def\pub{\my@x}\catcode`\@=12 ", r"\pub", "|X"),
        (r"\makeatletter\let\old@vec\vec\renewcommand{\vec}[1]{\old@vec{\bf #1}}\makeatother",
         r"\vec{x}", r"|\vec{\bf x}"),
        # without it, \my is another command than \my@x
        (r"\newcommand{\my}{M}", r"a\my@x", "|aM@x"),
        (r"\makeatletter\newcommand{\my@x}{X}\newcommand{\my}{M}\makeatother", r"\my@x", "|M@x"),
        (r"\makeatletter\newcommand{\ie}{i.e.\@}\makeatother", r"\ie\ a", r"|i.e.\@\ a"),
        # programming, or what leads to it, stays with its definition
        (r"\makeatletter\def\my@x{\@ifstar{a}{b}}\def\pub{\my@x}\makeatother", r"\pub",
         "\\def\\my@x{\\@ifstar{a}{b}}\n\\def\\pub{\\my@x}\n|\\pub"),
        (r"\makeatletter\def\pub{\z@}\makeatother", r"\pub", "\\def\\pub{\\z@}\n|\\pub"),
        # in the body, and to the end of the preamble where it is not ended
        ("", r"\makeatletter\def\my@x{X}\def\pub{\my@x}\makeatother \pub",
         r"|\makeatletter\makeatother X"),
        (r"\makeatletter\def\my@x{X}\def\pub{\my@x}\def\my{M}", r"\pub\my@x", "|XM@x"),
        # names that are spelled out
        (r"\expandafter\def\csname foo\endcsname{F}", r"\foo", "|F"),
        (r"\expandafter\gdef\csname foo\endcsname#1{<#1>}", r"\foo{a}", "|<a>"),
        (r"\expandafter\newcommand\csname foo\endcsname[1]{<#1>}", r"\foo{a}", "|<a>"),
        (r"\makeatletter\@namedef{foo}{F}\makeatother", r"\foo", "|F"),
        (r"\expandafter\def\csname foo\endcsname{\ifmmode a\fi}", r"\foo",
         "\\def\\foo{\\ifmmode a\\fi}\n|\\foo"),
        (r"\def\do#1{\expandafter\def\csname#1\endcsname{x}}", r"\foo", r"|\foo"),
    ],
)  # fmt: skip
def test_names_that_a_paper_keeps_to_itself(head: str, body: str, clean: str) -> None:
    assert cleaned(head, body) == clean
