r"""arXiv: LaTeX sources, in the bulk layout (tar of .gz) or as folders of .tex files.

The filters: ``main file`` (its parts are put in, comments go), ``section`` (what stands before the
first goes), ``bibliography``, ``macros`` (the paper's own are expanded). Their documents are
papers: what a paper is left without (files of it that were refused, parts that lack, documents
besides its main one) is counted as a change of that paper, under ``read`` and ``main file``.

The offset of a document is the number of its member in the bulk archive (every member counts, from
0), or 0 where the file is the paper: a single ``.gz``, or the main file in a folder.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.language import identify
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import latex, latex_inputs
from tasks.corpus.sources.arxiv_archives import (
    MAX_PAPER_BYTES,
    RefusedError,
    bulk_members,
    content,
)
from tasks.corpus.sources.arxiv_folders import folder_papers
from tasks.corpus.sources.arxiv_papers import LATEX, PACKAGES, Paper, packed_paper
from tasks.corpus.sources.latex_bibliography import without_bibliography
from tasks.corpus.sources.latex_comments import reveal
from tasks.corpus.sources.latex_encoding import is_wrong_guess
from tasks.corpus.sources.latex_inputs import Sources

_BULK = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# Documents of a paper besides its main one that are named with it.
MAX_NAMED = 5
_NEW_ID = re.compile(r"(\d\d)(0[1-9]|1[0-2])\.\d{4,5}(?:v\d+)?")
_OLD_ID = re.compile(r"[a-z][a-z-]*(?:\.[A-Z]{2})?(\d\d)(0[1-9]|1[0-2])\d{3}(?:v\d+)?")


def units(files: Sequence[str]) -> list[list[str]]:
    """Loose LaTeX files of one folder, with all below it, are read together; others alone.

    So are packages and classes in such folders.
    """
    holders = {posixpath.dirname(name) for name in files if name.lower().endswith(LATEX)}
    folders: dict[str, list[str]] = {}
    result: list[list[str]] = []
    for name in files:
        parts = posixpath.dirname(name).split("/")
        above = ("/".join(parts[:depth]) for depth in range(len(parts) + 1))
        is_loose = name.lower().endswith((*LATEX, *PACKAGES))
        folder = next((path for path in above if path in holders), None) if is_loose else None
        if folder is None:
            result.append([name])
            continue
        if folder not in folders:
            folders[folder] = []
            result.append(folders[folder])
        folders[folder].append(name)
    return result


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Papers of all archives, in the order of files, then those of folders."""
    funnel.declare("main file", "section", "bibliography", "macros")
    loose: list[str] = []
    for name in files:
        if name.lower().endswith((*LATEX, *PACKAGES)):
            loose.append(name)
            continue
        for paper in _file_papers(root / name, name, funnel):
            yield from _documents(paper, parameters, funnel)
    for paper in folder_papers(root, loose, funnel):
        yield from _documents(paper, parameters, funnel)


def _file_papers(path: Path, name: str, funnel: Funnel) -> Iterator[Paper]:
    """Papers of a file that is no loose LaTeX file."""
    if name.lower().endswith(_BULK):
        yield from bulk_papers(path, name, funnel)
        return
    if not funnel.at(name, 0):
        return
    if name.lower().endswith(".gz"):
        with path.open("rb") as handle:
            data = handle.read(MAX_PAPER_BYTES + 1)
        yield from _packed(data, _stem(name), name, funnel)
    elif name.lower().endswith(".pdf"):
        funnel.reject("read", "PDF only", "", name)
    else:
        funnel.reject("read", "no LaTeX file", "", name)


def bulk_papers(path: Path, name: str, funnel: Funnel) -> Iterator[Paper]:
    """Papers of a bulk archive, counted; a damaged archive gives those before the damage."""
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return
    begun = False
    try:
        for number, member, archive in bulk_members(path):
            begun = True
            if member.isdir() or not funnel.at(name, number):
                continue
            uri = f"{name}#{PurePosixPath(member.name)}"
            reason = _refusal(member)
            if reason:
                funnel.reject("read", reason, "", uri)
            else:
                yield from _packed(content(archive, member), _stem(member.name), uri, funnel)
    except RefusedError as error:
        single = None if begun else _single(path, name, funnel)
        if single is None:
            funnel.bad_file(name, str(error), error.__cause__)
        else:
            yield from _kept(single, funnel)


def _refusal(member: tarfile.TarInfo) -> str:
    """Why a member of a bulk archive is not read, "" when it is."""
    if member.islnk() or member.issym():
        return "link in an archive"
    if not member.isfile():
        return "device in an archive"
    if member.name.lower().endswith(".pdf"):
        return "PDF only"
    return "paper too large" if member.size > MAX_PAPER_BYTES else ""


def _single(path: Path, name: str, funnel: Funnel) -> Paper | None:
    """The one paper in a file that is called a bulk archive and is none."""
    with path.open("rb") as handle:
        data = handle.read(MAX_PAPER_BYTES + 1)
    try:
        paper = packed_paper(data, _stem(name), name)
    except RefusedError:
        return None
    is_latex = any("\\" in text for text in paper.files.values())
    return paper if is_latex and funnel.at(name, 0) else None


def _packed(data: bytes, identity: str, uri: str, funnel: Funnel) -> Iterator[Paper]:
    """The paper in ``data``, or none and its reason."""
    try:
        paper = packed_paper(data, identity, uri)
    except RefusedError as error:
        funnel.reject("read", str(error), "", uri)
        return
    yield from _kept(paper, funnel)


def _kept(paper: Paper, funnel: Funnel) -> Iterator[Paper]:
    funnel.keep("read", "".join(paper.files.values()), changed=Counter(paper.refused))
    yield paper


def _stem(name: str) -> str:
    stem = posixpath.basename(name)
    for ending in (".gz", ".tgz", ".tar", ".tex"):
        stem = stem.removesuffix(ending)
    return stem


def _documents(paper: Paper, parameters: CorpusParameters, funnel: Funnel) -> Iterator[Document]:
    """The document of a paper, if it has one."""
    file, offset = funnel.place
    sources = Sources(paper.files)
    raw = "".join(paper.files.values())
    main = paper.main or latex_inputs.main_file(sources)
    if main is None:
        funnel.reject("main file", "no main file", raw, paper.uri)
        return
    others = [name for name in latex_inputs.documents(sources) if name != main]
    resolved = latex_inputs.resolve_inputs(main, sources, paper.unread, paper.packages)
    source = reveal(resolved.text)
    lost = resolved.lost + Counter({"another document of the paper": len(others)})
    funnel.keep("main file", raw, source, changed=lost)
    sections = latex.from_first_section(resolved.text, resolved.definitions)
    if sections is None:
        funnel.reject("section", "no section header", source, paper.uri)
        return
    body = reveal(sections.body)
    funnel.keep("section", source, body)
    rest = without_bibliography(sections.body)
    without = reveal(rest)
    funnel.keep("bibliography", body, without)
    expanded = latex.expanded(rest, sections, parameters.arxiv_expansions)
    if not expanded.text:
        funnel.reject("macros", "nothing left", without, paper.uri)
        return
    if paper.guessed and is_wrong_guess(expanded.text):
        funnel.reject("macros", "unknown encoding", without, paper.uri)
        return
    funnel.keep("macros", without, expanded.text)
    language, score = identify(expanded.text)
    meta = {
        "file": file,
        "offset": offset,
        "main": main,
        "encodings": list(paper.encodings),
        "macros": expanded.macros,
        "parts": resolved.found,
        "parts_lost": resolved.lost.total(),
    }
    if resolved.packages:
        meta["packages"] = resolved.packages
    if paper.refused:
        meta["files_refused"] = len(paper.refused)
    if others:
        meta["other_documents"] = others[:MAX_NAMED]
    if expanded.bounded:
        meta["macros_bounded"] = True  # some uses stay as written: they expand without end
    yield Document(
        id=f"arxiv:{paper.identity}",
        text=expanded.text,
        source="arxiv",
        uri=paper.uri,
        language=language,
        language_score=score,
        created=submitted(paper.identity),
        meta=meta,
    )


def submitted(identity: str) -> str:
    """Month of submission as an identifier says it: ``2301.00001`` is 2023-01; "" when it does not.

    Not a file's time: those in the bulk archives are of their packing.
    """
    match = _NEW_ID.fullmatch(identity) or _OLD_ID.fullmatch(identity)
    if match is None:
        return ""
    year = int(match[1])
    return f"{1900 + year if year > 90 else 2000 + year}-{match[2]}"
