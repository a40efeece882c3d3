"""Papers that lie in folders as loose LaTeX files."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from tasks.corpus.funnel import Funnel
from tasks.corpus.sources import latex_inputs
from tasks.corpus.sources.arxiv_archives import RefusedError
from tasks.corpus.sources.arxiv_papers import MAX_TEX_BYTES, PACKAGES, Paper, as_text
from tasks.corpus.sources.latex_encoding import CYRILLIC, DEFAULT, codec_of, declared


class Folder(Mapping[str, str]):
    """The LaTeX files in a folder and below it, by their path in it; read when asked for.

    opened: names of those that were. codecs: theirs; beyond: of those that are not ASCII.
    """

    def __init__(self, root: Path, folder: str, names: Set[str], encoding: str = "") -> None:
        self._root = root
        self._folder = folder
        self._names = names
        self._encoding = encoding
        self.opened: set[str] = set()
        self.codecs: set[str] = set()
        self.beyond: set[str] = set()

    def __contains__(self, path: object) -> bool:
        return posixpath.join(self._folder, str(path)) in self._names

    def __getitem__(self, path: str) -> str:
        name = posixpath.join(self._folder, path)
        self.opened.add(name)
        text, codec = as_text((self._root / name).read_bytes(), self._encoding)
        self.codecs.add(codec)
        if not text.isascii():
            self.beyond.add(codec)
        return text

    def __iter__(self) -> Iterator[str]:
        above = f"{self._folder}/" if self._folder else ""
        return (name[len(above) :] for name in sorted(self._names) if name.startswith(above))

    def __bool__(self) -> bool:
        above = f"{self._folder}/" if self._folder else ""
        return any(name.startswith(above) for name in self._names)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def folder_papers(root: Path, names: Sequence[str], funnel: Funnel) -> Iterator[Paper]:
    """Every file that starts a document is a paper; its parts stand in its folder or below."""
    readable: set[str] = set()
    packages: set[str] = set()
    mains: list[tuple[str, str]] = []
    for name in names:
        if not funnel.at(name, 0):
            continue
        if name.lower().endswith(PACKAGES):
            if _is_package(root / name):
                packages.add(name)
            else:
                funnel.reject("read", "no LaTeX file", "", name)
            continue
        size = (root / name).stat().st_size
        if size == 0 or size > MAX_TEX_BYTES:
            funnel.bad_file(name, "file too large" if size else "empty file")
            continue
        data = (root / name).read_bytes()
        encoding = declared([data])
        try:
            text, _ = as_text(data, encoding)
        except RefusedError as error:
            funnel.bad_file(name, str(error))
            continue
        readable.add(name)
        if latex_inputs.starts_document(text):
            mains.append((name, encoding))
    used: set[str] = set()
    parts: set[str] = {name for name, _ in mains}
    for name, encoding in mains:
        funnel.at(name, 0)
        folder, main = posixpath.split(name)
        known = encoding if codec_of(encoding) or encoding == CYRILLIC else ""
        files = Folder(root, folder, readable, known)
        own = latex_inputs.with_parts(main, files)
        parts.update(posixpath.join(folder, path) for path in (*own.texts, *own.unread))
        styles = Folder(root, folder, packages, known)
        funnel.keep("read", "".join(own.texts.values()))
        identity = posixpath.splitext(name.removeprefix("corpus/").removeprefix("arxiv/"))[0]
        yield Paper(
            identity,
            name,
            own.texts,
            main,
            own.unread,
            encodings=tuple(sorted(files.codecs)),
            packages=styles,
            guessed=files.beyond == {DEFAULT} and codec_of(encoding) != DEFAULT,
        )
        used.update(styles.opened)
    for name in sorted(readable - parts):
        funnel.at(name, 0)
        funnel.reject("read", "part of no paper", "", name)
    for name in sorted(packages - used):
        funnel.at(name, 0)
        funnel.reject("read", "no LaTeX file", "", name)


def _is_package(path: Path) -> bool:
    """Whether a file that is called a package can be read as one."""
    if not 0 < path.stat().st_size <= MAX_TEX_BYTES:
        return False
    try:
        as_text(path.read_bytes(), "")
    except RefusedError:
        return False
    return True
