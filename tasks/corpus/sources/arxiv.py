"""arXiv: LaTeX sources, in the bulk layout (tar of .gz) or as folders of .tex files."""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tasks.corpus.documents import Document, Funnel
from tasks.corpus.language import identify
from tasks.corpus.parallel import ordered_map
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import latex, latex_inputs
from tasks.corpus.sources.latex_comments import reveal, strip_comments

MAX_PAPER_BYTES = 100_000_000
MAX_TEX_BYTES = 10_000_000
MAX_MEMBERS = 5_000
LATEX = (".tex", ".ltx")
_MAIN = re.compile(r"\\documentclass|\\documentstyle|\\begin\s*\{document\}")
_COMMON_MAIN_NAMES = ("main.tex", "ms.tex", "paper.tex", "article.tex")


@dataclass(frozen=True)
class Paper:
    """The .tex files of one paper. main: the file to start from, None when not yet known.

    unread: parts that were too many or too large to load, with the reason.
    """

    identity: str
    uri: str
    files: Mapping[str, str]
    main: str | None
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One paper, or none, with the counts of what was read before it."""

    paper: Paper | None
    funnel: Funnel
    expansions: int


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Papers of all archives and folders, in the order of files."""
    funnel.declare("main file", "section")
    jobs = _jobs(root, files, parameters, funnel)
    for document, counts in ordered_map(_clean, jobs, parameters.workers):
        funnel.merge(counts)
        if document is not None:
            yield document


def _jobs(
    root: Path, files: Sequence[str], parameters: CorpusParameters, parent: Funnel
) -> Iterator[Job]:
    funnel = parent.child()
    limit = parameters.arxiv_expansions
    loose: list[str] = []
    for name in files:
        if name.lower().endswith((".tar", ".tar.gz", ".tgz")):
            for paper in _archive_papers(root / name, name, funnel):
                yield Job(paper, funnel.detach(), limit)
        elif name.lower().endswith(".gz"):
            data = (root / name).read_bytes()[: MAX_PAPER_BYTES + 1]
            paper_or_none = _packed_paper(data, _stem(name), name, funnel)
            if paper_or_none is not None:
                yield Job(paper_or_none, funnel.detach(), limit)
        elif name.lower().endswith(LATEX):
            loose.append(name)
        elif name.lower().endswith(".pdf"):
            funnel.reject("read", "PDF only")
        else:
            funnel.reject("read", "no LaTeX file")
    for paper in _folder_papers(root, loose, funnel):
        yield Job(paper, funnel.detach(), limit)
    yield Job(None, funnel, limit)


class Folder(Mapping[str, str]):
    """The LaTeX files in a folder and below it, by their path in it; read when asked for."""

    def __init__(self, root: Path, folder: str, names: Set[str]) -> None:
        self._root = root
        self._folder = folder
        self._names = names

    def __contains__(self, path: object) -> bool:
        return posixpath.join(self._folder, str(path)) in self._names

    def __getitem__(self, path: str) -> str:
        return decode((self._root / self._folder / path).read_bytes())

    def __iter__(self) -> Iterator[str]:
        return (
            posixpath.relpath(name, self._folder)
            for name in sorted(self._names)
            if name.startswith(f"{self._folder}/")
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _folder_papers(root: Path, names: Sequence[str], funnel: Funnel) -> Iterator[Paper]:
    """Every file that starts a document is a paper; its parts stand in its folder or below."""
    readable: set[str] = set()
    for name in names:
        size = (root / name).stat().st_size
        if size == 0:
            funnel.bad_file(name, "empty file")
        elif size > MAX_TEX_BYTES:
            funnel.bad_file(name, "file too large")
        else:
            readable.add(name)
    mains: set[str] = set()
    parts: set[str] = set()
    for name in names:
        if name not in readable:
            continue
        folder, main = posixpath.split(name)
        files = Folder(root, folder, readable)
        if not latex_inputs.starts_document(files[main]):
            continue
        mains.add(name)
        own = latex_inputs.with_parts(main, files)
        parts.update(posixpath.join(folder, path) for path in (*own.texts, *own.unread))
        funnel.keep("read", "".join(own.texts.values()))
        identity = posixpath.splitext(name.removeprefix("corpus/").removeprefix("arxiv/"))[0]
        yield Paper(identity, name, own.texts, main, own.unread)
    for _ in readable - mains - parts:
        funnel.reject("read", "part of no paper")


def _archive_papers(path: Path, name: str, funnel: Funnel) -> Iterator[Paper]:
    """Papers of a bulk archive; a damaged archive gives those before the damage."""
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return
    try:
        with tarfile.open(path, mode="r|*") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                if member.name.lower().endswith(".pdf"):
                    funnel.reject("read", "PDF only")
                    continue
                if member.size > MAX_PAPER_BYTES:
                    funnel.reject("read", "paper too large")
                    continue
                handle = archive.extractfile(member)
                assert handle is not None
                data = handle.read()
                uri = f"{name}#{PurePosixPath(member.name)}"
                paper = _packed_paper(data, _stem(member.name), uri, funnel)
                if paper is not None:
                    yield paper
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        funnel.bad_file(name, "corrupt archive", error)


def _stem(name: str) -> str:
    return posixpath.basename(name).removesuffix(".gz").removesuffix(".tar").removesuffix(".tex")


def _packed_paper(data: bytes, identity: str, uri: str, funnel: Funnel) -> Paper | None:
    """A paper from its .gz: one .tex, or a tar of several files."""
    try:
        with gzip.open(io.BytesIO(data)) as handle:
            content = handle.read(MAX_PAPER_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        funnel.reject("read", "corrupt gzip")
        return None
    if len(content) > MAX_PAPER_BYTES:
        funnel.reject("read", "paper too large")
        return None
    if content.startswith(b"%PDF"):
        funnel.reject("read", "PDF only")
        return None
    if not content.strip() or content.lstrip().startswith(b"%auto-ignore"):
        funnel.reject("read", "withdrawn")
        return None
    files: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for number, member in enumerate(archive):
                path = posixpath.normpath(member.name)
                if not member.isfile() or not path.lower().endswith(LATEX):
                    continue
                reason = _refusal(number, path, member.size)
                if reason:
                    funnel.reject("read", reason)
                    continue
                handle_or_none = archive.extractfile(member)
                assert handle_or_none is not None
                files[path] = decode(handle_or_none.read())
    except tarfile.TarError:
        if files or b"\x00" in content[:4096]:
            funnel.reject("read", "corrupt archive")
            return None
        if len(content) > MAX_TEX_BYTES:
            funnel.reject("read", "file too large")
            return None
        files = {f"{identity}.tex": decode(content)}
    if not files:
        funnel.reject("read", "no LaTeX file")
        return None
    if all(text.lstrip().startswith("%auto-ignore") for text in files.values()):
        funnel.reject("read", "withdrawn")
        return None
    funnel.keep("read", "".join(files.values()))
    return Paper(identity, uri, files, None)


def _refusal(number: int, path: str, size: int) -> str:
    """Why a LaTeX file of a packed paper is not read, "" when it is."""
    if number >= MAX_MEMBERS:
        return "too many files in a paper"
    if path.startswith(("/", "../")):
        return "path outside the paper"
    return "file too large" if size > MAX_TEX_BYTES else ""


def decode(data: bytes) -> str:
    """UTF-8, else Latin-1: most papers that are not UTF-8 are."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def main_file(files: Mapping[str, str]) -> str | None:
    r"""The file a paper starts from: ``\documentclass`` or ``\begin{document}`` outside comments.

    Of several, one that is no part by its class, then one with both, then one with a usual name,
    then the longest, then by name.
    """
    ranks: list[tuple[bool, int, bool, int, str]] = []
    for name, text in files.items():
        if not _MAIN.search(text):
            continue
        stripped = strip_comments(text)
        found = set(_MAIN.findall(stripped))
        if found:
            usual = posixpath.basename(name).lower() in _COMMON_MAIN_NAMES
            part = latex_inputs.is_part(stripped)
            ranks.append((part, -len(found), not usual, -len(text), name))
    return min(ranks)[-1] if ranks else None


def _clean(job: Job) -> tuple[Document | None, Funnel]:
    """The document of a paper; runs in a worker process."""
    funnel, paper = job.funnel, job.paper
    if paper is None:
        return None, funnel
    raw = "".join(paper.files.values())
    main = paper.main or main_file(paper.files)
    if main is None:
        funnel.reject("main file", "no main file", raw, paper.uri)
        return None, funnel
    resolved = latex_inputs.resolve_inputs(main, paper.files, paper.unread)
    for reason in resolved.lost.elements():
        funnel.reject("read", reason, "", paper.uri)
    source = reveal(resolved.text)
    funnel.keep("main file", raw, source)
    cleaned = latex.body_from_first_section(resolved.text, job.expansions)
    if cleaned is None:
        funnel.reject("section", "no section header", source, paper.uri)
        return None, funnel
    body, macros = cleaned
    funnel.keep("section", source, body)
    language, score = identify(body)
    return (
        Document(
            id=f"arxiv:{paper.identity}",
            text=body,
            source="arxiv",
            uri=paper.uri,
            language=language,
            language_score=score,
            meta={
                "main": main,
                "macros": macros,
                "parts": resolved.found,
                "parts_lost": resolved.lost.total(),
            },
        ),
        funnel,
    )
