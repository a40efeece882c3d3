"""arXiv sample: a tar of submissions as in the bulk source: gzip of one .tex, gzip of a tar, PDF.

The articles are composed from the documentation of numerical packages and keep their formulas.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.sample.archives import SourceReport, gzip_bytes, tar_bytes, write_bytes
from tasks.sample.environment import Docstring, Environment
from tasks.sample.prose import Block, is_prose, keep_math, plain, references, sections

PACKAGES = [("scipy", "scipy"), ("numpy", "numpy")]
SECTIONS = (5, 12)  # of one article
TREE_EVERY = 5  # every fifth submission consists of several files
ESCAPES = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "~": r"\~{}", "^": r"\^{}", "$": r"\$"}
PREAMBLE = r"""\documentclass[11pt]{article}
% Composed from the documentation of the installed packages.
\usepackage{amsmath,amssymb}
\newcommand{\package}{\textsf{%(package)s}}
\newcommand{\code}[1]{\texttt{#1}}
\newcommand{\R}{\mathbb{R}}
\def\eps{\varepsilon}
"""
BODY = r"""\begin{document}
\title{%(title)s}
\author{The authors of \package}
\date{July 2022}
\maketitle
\begin{abstract}
%(abstract)s
\end{abstract}

\section{Introduction}
We describe %(count)d entries of \package, version %(version)s. % counted by the program
Vectors are elements of $\R^n$ and tolerances are written as $\eps$ throughout.

%(sections)s
%(bibliography)s
\end{document}
"""
PDF = (
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
    b"2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n"
    b"3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>\nendobj\n"
    b"trailer\n<< /Root 1 0 R >>\n%%EOF\n"
)


def make_arxiv(folder: Path, environment: Environment, *, characters: int) -> SourceReport:
    """Write ``arXiv_src_2207_001.tar`` with about `characters` characters of LaTeX."""
    dice = random.Random(f"{environment.seed}/arxiv")
    members: list[tuple[str, bytes]] = []
    entries: list[tuple[Docstring, str]] = []
    wanted = dice.randint(*SECTIONS)
    documents = written = 0
    for docstring in environment.docstrings(PACKAGES, minimum=900):
        latex = _section(docstring)
        if len(latex) > 600:
            entries.append((docstring, latex))
        if len(entries) < wanted:
            continue
        preamble, body = _article(entries)
        documents += 1
        written += len(body)
        name = f"2207/2207.{documents:05d}"
        if documents % TREE_EVERY == 0:
            tree = tar_bytes(
                [
                    ("main.tex", (preamble + "\\input{body}\n").encode("utf-8")),
                    ("body.tex", body.encode("utf-8")),
                ]
            )
            members.append((f"{name}.gz", gzip_bytes(tree)))
        else:
            members.append((f"{name}.gz", gzip_bytes((preamble + body).encode("utf-8"))))
        entries, wanted = [], dice.randint(*SECTIONS)
        if written >= characters:
            break
    members.append((f"2207/2207.{documents + 1:05d}.pdf", PDF))
    write_bytes(folder / "arXiv_src_2207_001.tar", tar_bytes(members))
    return SourceReport(documents, written)


def _section(docstring: Docstring) -> str:
    """A section with the prose, lists, formulas and code of one docstring."""
    lines = [rf"\section{{The entry {escape(docstring.name or docstring.module)}}}"]
    for part in sections(docstring.text):
        body = list(_latex(part.blocks))
        if not body:
            continue
        if part.title:
            lines.append(rf"\subsection{{{escape(part.title)}}}")
        lines += body
    joined = "\n".join(lines) + "\n" if len(lines) > 1 else ""
    return joined.replace("\\end{itemize}\n\\begin{itemize}\n", "")


def _latex(blocks: list[Block]) -> Iterator[str]:
    for block in blocks:
        if block.kind == "math":
            formula = block.text.strip()
            if formula.count("{") == formula.count("}") and "$" not in formula:
                yield "\\begin{equation*}\n" + re.sub(r"\n\s*\n", "\n", formula)
                yield "\\end{equation*}"
        elif block.kind == "code":
            if "\\end{verbatim}" not in block.text:
                yield f"\\begin{{verbatim}}\n{block.text}\n\\end{{verbatim}}"
        elif is_prose(re.sub(r":math:`[^`]*`", "formula", plain(block.text))) or (
            ":math:`" in block.text and len(block.text) > 60
        ):
            text = escape_prose(keep_math(block.text))
            if block.kind == "item":
                yield f"\\begin{{itemize}}\n\\item {text}\n\\end{{itemize}}"
            else:
                yield text + "\n"


def escape(text: str) -> str:
    """Text with the characters that LaTeX reads as commands escaped; braces are dropped."""
    text = re.sub(r"[{}\\]", " ", text)
    return "".join(ESCAPES.get(character, character) for character in text)


def escape_prose(text: str) -> str:
    """Like `escape`, but formulas between dollars stay as they are."""
    parts = re.split(r"(\$[^$]+\$)", text)
    return "".join(part if index % 2 else escape(part) for index, part in enumerate(parts))


def _article(entries: list[tuple[Docstring, str]]) -> tuple[str, str]:
    """(preamble, document) of one article about a handful of entries."""
    first = entries[0][0]
    names = [docstring.name or docstring.module for docstring, _ in entries]
    abstract = f"We collect the documentation of {', '.join(names[:-1])} and {names[-1]}."
    sources: list[str] = []
    for docstring, _ in entries:
        sources += [source for source in references(docstring.text) if source not in sources]
    items = "\n".join(rf"\bibitem{{r{i}}} {escape(source)}" for i, source in enumerate(sources, 1))
    bibliography = (
        f"\\begin{{thebibliography}}{{99}}\n{items}\n\\end{{thebibliography}}" if sources else ""
    )
    fields = {
        "title": escape(f"Notes on {names[0]} and related parts of {first.package}"),
        "abstract": escape(abstract),
        "count": len(entries),
        "version": escape(first.version),
        "sections": "\n".join(latex for _, latex in entries),
        "bibliography": bibliography,
    }
    return PREAMBLE.replace("%(package)s", first.package), _fill(BODY, fields)


def _fill(template: str, fields: dict[str, object]) -> str:
    """`%(name)s` and `%(name)d` filled in; other percent signs are LaTeX comments."""
    return re.sub(r"%\((\w+)\)[sd]", lambda match: str(fields[match[1]]), template)
