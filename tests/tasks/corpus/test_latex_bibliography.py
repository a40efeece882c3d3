"""The bibliography goes in whatever form it stands; what follows it stays."""

from __future__ import annotations

import time

import pytest

from tasks.corpus.sources.latex_bibliography import without_bibliography


def test_references_of_ams_tex() -> None:
    body = "a\\Refs\\ref\\key 1\\by A\\endref\\endRefs b\\Refs c"
    assert without_bibliography(body) == "a b\\Refs c"
    started = time.process_time()
    without_bibliography("\\endRefs" + "\\Refs" * 200_000)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "bibliography",
    [
        r"\begin{thebibliography}{9}\bibitem{a} A.\end{thebibliography}",
        r"\begin {thebibliography}{9}\bibitem{a} A.\end {thebibliography}",
        r"\begin{references}\bibitem{a} A.\end{references}",
        r"\begin{bibdiv}\begin{biblist}\bib{a}{book}{}\end{biblist}\end{bibdiv}",
        r"\bibliographystyle{plain}\bibliography{a,b}",
        r"\nocite{*}\printbibliography[heading=none]",
        r"\printbibliography",
        r"\section*{References}\begin{thebibliography}{9}\bibitem{a}\end{thebibliography}",
        r"\section*{References}\bibliography{a}",
        r"\section{\bf REFERENCES.}[1] A. Author, 1999. [2] B. Author.",
        r"\chapter*{Bibliography}\noindent A. Author",
        r"\section*{References and Notes}\begin{enumerate}\item A\end{enumerate}",
        r"\section*{Références}A. Author",
        r"\section[Refs]{References}A. Author",
        r"\subsection*{Список литературы}A. Author",
        r"\section{7. References}A",
    ],
)
def test_bibliography_goes_and_the_rest_stays(bibliography: str) -> None:
    body = rf"\section{{A}} a \cite{{a}}. {bibliography}\appendix\section{{B}} b"
    assert without_bibliography(body) == r"\section{A} a \cite{a}. \appendix\section{B} b"


@pytest.mark.parametrize(
    "body",
    [
        r"\section{References to earlier work} a",
        r"\section{Literature} a",  # a review of it
        r"\section{Frames of reference} a",
        r"\section{A} the \emph{references} and the bibliography",
        r"\section{A}\bibitem{x}",
        r"\section{References",
        r"\section[References",
    ],
)
def test_what_only_sounds_like_one_stays(body: str) -> None:
    assert without_bibliography(body) == body


def test_figures_and_tables_behind_it_stay() -> None:
    listed = r"\section*{References}[1] A.\begin{figure}b\end{figure}"
    assert without_bibliography(listed) == r"\begin{figure}b\end{figure}"
    closed = r"\section*{References}\begin{references}A\end{references} Fig. 1: b"
    assert without_bibliography(closed) == " Fig. 1: b"


def test_an_environment_that_is_not_closed_goes_to_the_end() -> None:
    body = r"a\begin{thebibliography}{9}\bibitem{b} c"
    assert without_bibliography(body) == "a"
