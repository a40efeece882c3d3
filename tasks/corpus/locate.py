"""Finds the files of the seven sources in a data folder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from registry.files import native_name, portable_name
from tasks.corpus.mixture import SOURCES

# Notes about the data, not data: never read as documents.
_NOTES = {"sources.md", "readme", "readme.md", "readme.txt", "license", "checksums", "sha256sums"}


def is_note(name: str) -> bool:
    """Whether a file's name says that it is about the data."""
    return name.lower() in _NOTES


def corpus_folder(root: Path) -> Path:
    """Where the sources' folders are: ``<root>/corpus``.

    Raises:
        ValueError: there is none.
    """
    folder = root / "corpus"
    if not folder.is_dir():
        raise ValueError(
            f"no folder {folder}: a data folder holds corpus/<source>/... for the sources"
            f" {', '.join(SOURCES)}. Set ARRIERO_DATA (or DATA=) to it."
        )
    return folder


def locate_sources(root: Path) -> dict[str, list[str]]:
    """Files of every source, as sorted POSIX paths relative to ``root`` (``corpus/<source>/...``).

    Names are written as `registry.files.portable_name` does; see :func:`readable_root`. A source
    without files is left out. Hidden files, README and SOURCES files are no data (except inside
    ``github``, where a licence file decides). A folder that is none of the seven sources is
    ignored with a warning. Links that lead out of ``root`` are ignored with a warning.
    """
    folder = corpus_folder(root)
    resolved = root.resolve()
    found: dict[str, list[str]] = {}
    for child in sorted(folder.iterdir()):
        if not child.is_dir():
            if child.name.lower() not in _NOTES and not child.name.startswith("."):
                warnings.warn(f"{child} is ignored: it is in no source's folder", stacklevel=2)
            continue
        if child.name not in SOURCES:
            warnings.warn(
                f"{child} is ignored: {child.name!r} is none of the sources {', '.join(SOURCES)}",
                stacklevel=2,
            )
            continue
        files = []
        for path in child.rglob("*"):
            relative = path.relative_to(child)
            if any(part.startswith(".") for part in relative.parts) or not path.is_file():
                continue
            if child.name != "github" and path.name.lower() in _NOTES:
                continue
            if not path.resolve().is_relative_to(resolved):
                warnings.warn(f"{path} is ignored: it links out of the folder", stacklevel=2)
                continue
            files.append(portable_name(path.relative_to(root).as_posix()))
        if files:
            found[child.name] = sorted(files)
    return {name: found[name] for name in SOURCES if name in found}


@contextmanager
def readable_root(root: Path, files: Sequence[str], work: Path) -> Iterator[Path]:
    """A folder that holds every file of ``files`` under the name it is listed by.

    That is ``root`` itself, unless a name is no UTF-8 or has a backslash: then a folder of links
    below ``work``, so that readers open, count and cite a file by one and the same text.
    """
    if all(native_name(name) == name for name in files):
        yield root
        return
    with TemporaryDirectory(prefix="names-", dir=work) as folder:
        for name in files:
            link = Path(folder) / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((root / native_name(name)).absolute())
        yield Path(folder)
