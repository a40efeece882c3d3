"""What is a comment in LaTeX beyond the percent sign, and what a paper declares to be verbatim."""

from __future__ import annotations

import pytest

from tasks.corpus.sources.latex_blocks import NONE, own_blocks
from tasks.corpus.sources.latex_comments import reveal, strip_comments
from tasks.corpus.sources.latex_conditionals import drop_false


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        (r"a\iffalse b\fi c", "a c"),
        (r"a\iffalse b\else c\fi d", "a c d"),
        (r"a\iftrue b\else c\fi d", "a b d"),
        (r"a\iffalse\ifx b\else c\fi\else d\fi e", "a d e"),
        (r"a\iffalse\iftrue b\fi c\fi d", "a d"),
        (r"a\iftrue b\iffalse c\fi d\fi e", "a b d e"),
        (r"\ifx a\iffalse b\fi\else c\fi", r"\ifx a\else c\fi"),
        (r"\alpha\iffalse b\fi c", r"\alpha c"),
        (r"a \iff b \iffalse c \iff d\ifthenelse{e}{f}{g}\fi h", r"a \iff b  h"),
        (r"\newif\ifdraft\iffalse a\ifdraft b\fi\fi c", r"\newif\ifdraft c"),
        # halves of a pair of macros, and what never closes
        (r"\def\a{\iffalse}\def\b{\fi}", r"\def\a{\iffalse}\def\b{\fi}"),
        (r"\let\ifdraft\iffalse \ifdraft a\fi", r"\let\ifdraft\iffalse \ifdraft a\fi"),
        (r"a\iffalse b", r"a\iffalse b"),
        (r"a\iffalses b\fi c", r"a\iffalses b\fi c"),
        ("a\\iffalse\nb % \\fi\n\\fi c", "a c"),
        (r"\newcommand{\todo}[1]{\iffalse #1\fi}", r"\newcommand{\todo}[1]{}"),
        (r"a\iffalse \verb|\fi| b\fi c", "a c"),
    ],
)
def test_what_is_switched_off(source: str, clean: str) -> None:
    assert reveal(strip_comments(source)).replace("  ", " ") == clean.replace("  ", " ")


def test_deep_and_many_conditionals() -> None:
    deep = "\\iffalse " * 50_000 + "x" + "\\fi " * 50_000 + "y"
    assert drop_false(deep).strip() == "y"
    assert drop_false("{\\iffalse " * 50_000) == "{\\iffalse " * 50_000


@pytest.mark.parametrize(
    ("head", "block"),
    [
        (r"\newenvironment{code}{\verbatim}{\endverbatim}", "code"),
        (r"\lstnewenvironment{code}[1][]{\lstset{#1}}{}", "code"),
        (r"\DefineVerbatimEnvironment{code}{Verbatim}{fontsize=\small}", "code"),
        (r"\DefineVerbatimEnvironment{code*}{Verbatim}{}", "code*"),
        (r"\newenvironment{code}[1]{\VerbatimEnvironment\begin{minted}{#1}}{\end{minted}}", "code"),
        (r"\newtcblisting{code}{listing only}", "code"),
        (r"\newminted{python}{linenos}", "pythoncode"),
        (r"\newminted[code]{c}{}", "code"),
        (r"\renewenvironment{program}{\begin{alltt}}{\end{alltt}}", "program"),
    ],
)
def test_verbatim_environments_of_the_paper_s_own(head: str, block: str) -> None:
    source = f"{head} a % b\n\\begin{{{block}}}\n50 % \\input{{x}}\n\\end{{{block}}} c % d"
    clean = f"{head} a \n\\begin{{{block}}}\n50 % \\input{{x}}\n\\end{{{block}}} c "
    stripped = strip_comments(source, own_blocks([source]))
    assert reveal(stripped) == clean
    assert "\\input" not in stripped


@pytest.mark.parametrize(
    "head",
    [r"\excludecomment{hidden}", r"\newenvironment{hidden}{\comment}{\endcomment}",
     r"\newenvironment{hidden}{\begin{comment}}{\end{comment}}"],
)  # fmt: skip
def test_comment_environments_of_the_paper_s_own(head: str) -> None:
    blocks = own_blocks(["", head])
    assert blocks.comment == ("hidden",)
    source = "a\n\\begin{hidden}\nb\n\\begin{comment}c\\end{comment}\n\\end{hidden}\nd"
    assert strip_comments(source, blocks) == "a\n\nd"


def test_short_verbatim_marks() -> None:
    source = r"\MakeShortVerb{\|} a |%d \x| b % c"
    assert (
        reveal(strip_comments(source, own_blocks([source]))) == r"\MakeShortVerb{\|} a |%d \x| b "
    )
    assert reveal(strip_comments("|a % b| c")) == "|a "
    early = "|a % b|\n" + source  # not yet declared
    assert reveal(strip_comments(early, own_blocks([early]))).startswith("|a \n")


def test_an_ordinary_environment_is_no_block() -> None:
    assert own_blocks([r"\newenvironment{proof}{\begin{quote}}{\end{quote}} \verb|a|"]) == NONE
    assert own_blocks([r"\newenvironment{x"]) == NONE


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        ("a%", "a"), ("%", ""), ("a\\\\%b", "a\\\\"), (r"a\%b%c", r"a\%b"), ("a%\nb", "a\nb"),
        ("a %\n%\n% x\nb", "a \nb"), ("\\%%\\%", "\\%"), ("\\\\\\%a", "\\\\\\%a"),
    ],
)  # fmt: skip
def test_percent_signs(source: str, clean: str) -> None:
    assert strip_comments(source) == clean
