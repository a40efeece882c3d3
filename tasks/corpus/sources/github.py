"""GitHub: source files of MIT, BSD and Apache projects (paper section 2.1).

Projects are folders and archives (tar, zip) under ``github/``, and with ``github_packages`` the
source trees of the installed Python packages, whose metadata names their licence. Files of records
(see ``bigquery``) name each file's licence; they lie beside the projects, or in folders that hold
nothing else. A record's place: 0 of a file of a folder, the member's number in an archive, the row
or line of a records' file, the file's number in a package, the last three from 1.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import packages
from tasks.corpus.sources.bigquery import is_records, records
from tasks.corpus.sources.code_archives import ArchiveError, is_archive, members
from tasks.corpus.sources.code_rules import (
    FILTERS,
    MAX_FILE_BYTES,
    CodeFile,
    documents_of,
    is_wanted,
)
from tasks.corpus.sources.licenses import permitted, refusal
from tasks.corpus.sources.project_licenses import ProjectLicenses, states_licence

_FOLDER, _ARCHIVE, _RECORDS, _PACKAGE = range(4)


def units(files: Sequence[str]) -> list[list[str]]:
    """A project's files are one unit; an archive, a file of records, a package is its own."""
    return [names for _, _, names in _projects(files)]


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Source files of the projects in ``files``, in their order.

    Without files they are, with ``github_packages``, those of all installed packages.

    Raises:
        PackageMissing: one of ``files`` is a package that this machine has not.
    """
    funnel.declare(*FILTERS)
    installed = None
    if not files and parameters.github_packages:
        installed = {package.address: package for package in packages.installed()}
        files = list(installed)
    for kind, project, names in _projects(files):
        if kind == _FOLDER:
            yield from _folder_documents(root, project, names, parameters, funnel)
        elif kind == _ARCHIVE:
            yield from _archive_documents(root / project, project, parameters, funnel)
        elif kind == _RECORDS:
            yield from _record_documents(root / project, project, parameters, funnel)
        else:
            if installed is None:
                installed = {package.address: package for package in packages.installed(files)}
            yield from _package_documents(project, installed.get(project), parameters, funnel)


def _projects(files: Sequence[str]) -> list[tuple[int, str, list[str]]]:
    """(kind, name, files) of every project, in the order in which they are met."""
    # Folders that hold more than records: what looks like records there is a project's.
    mixed = {_project(name) for name in files if not is_records(name) and not is_archive(name)}
    found: dict[tuple[int, str], list[str]] = {}
    for name in files:
        if name.startswith(packages.PACKAGE):
            key = (_PACKAGE, name)
        elif is_archive(name):
            key = (_ARCHIVE, name)
        elif is_records(name) and _beside_projects(name, mixed):
            key = (_RECORDS, name)
        else:
            key = (_FOLDER, _project(name))
        found.setdefault(key, []).append(name)
    return [(kind, project, names) for (kind, project), names in found.items()]


def _beside_projects(name: str, mixed: set[str]) -> bool:
    """Whether a file of records is no project's: in ``github/`` itself, or among its like only."""
    project = _project(name)
    return project not in mixed or posixpath.basename(project) in ("", "github")


def _project(name: str) -> str:
    """``corpus/github/<project>/...`` -> ``corpus/github/<project>``; a loose file is its own."""
    head, separator, rest = name.partition("github/")
    project, inside, _ = rest.partition("/")
    return f"{head}{separator}{project}" if inside else posixpath.dirname(name)


def _folder_documents(
    root: Path, project: str, names: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    licenses = ProjectLicenses()
    inner = {name: posixpath.relpath(name, project or ".") for name in names}
    funnel.between()
    for name in names:
        if states_licence(inner[name]):
            licenses.add(inner[name], _start_of(root / name))
    for name in names:
        if not funnel.at(name, 0):
            continue
        data = _start_of(root / name) if is_wanted(name, parameters) else b""
        license_name = licenses.of(inner[name])
        file = CodeFile(name, 0, name, inner[name], license_name)
        yield from documents_of(file, data, parameters, funnel)


def _start_of(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(MAX_FILE_BYTES + 1)


def _archive_documents(
    path: Path, name: str, parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Files of one project's archive. Two passes: its licence file may come last."""
    if not funnel.at(name, 0):
        return
    funnel.between()
    licenses = ProjectLicenses()
    with suppress(ArchiveError):  # the next pass comes to it, too, and counts it
        for member in members(path, states_licence, MAX_FILE_BYTES):
            if member.data is not None:
                licenses.add(member.name, member.data)
    seen: set[str] = set()
    try:
        for member in members(path, lambda inner: is_wanted(inner, parameters), MAX_FILE_BYTES):
            if not funnel.at(name, member.number):
                continue
            uri = f"{name}#{member.name}"
            if member.problem:
                funnel.reject("read", member.problem, "", uri)
            else:
                file = CodeFile(
                    name, member.number, uri, member.name, licenses.of(member.name),
                    twice=member.name in seen,
                )  # fmt: skip
                yield from documents_of(file, member.data or b"", parameters, funnel)
            seen.add(member.name)
            funnel.between()
    except ArchiveError as error:
        funnel.bad_file(name, error.reason, error.detail)


def _record_documents(
    path: Path, name: str, parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    for record in records(path, name, funnel):
        where = f"{record.repository}/{record.path}" if record.repository else record.path
        file = CodeFile(
            name, record.number, f"{name}#{where}", record.path, record.license, twice=True
        )
        yield from documents_of(file, record.data, parameters, funnel)


def _package_documents(
    name: str, package: packages.Package | None, parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    if package is None:
        raise packages.PackageMissing(packages.missing(name))
    for number, (inner, path) in enumerate(package.files, 1):
        if not funnel.at(name, number):
            continue
        uri = f"{name}/{inner}"
        if not permitted(package.license):
            # Its files are not opened.
            funnel.keep("read", "")
            funnel.reject("license", refusal(package.license), "", uri)
        elif not path.is_file():
            funnel.reject("read", "file of a package is not there", "", uri)
        else:
            file = CodeFile(name, number, uri, inner, package.license)
            yield from documents_of(file, _start_of(path), parameters, funnel)
