"""The installed Python packages as projects of the GitHub source."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata as metadata
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.corpus.sources.license_texts import RESTRICTED, license_of_text, own_part
from tasks.corpus.sources.licenses import license_of_metadata

# Written by an installer, for this machine.
_INSTALLER = re.compile(r"(^|/)(__editable__|__pycache__/)|\.(pyc|pth)$|\.(dist|egg)-info/")
_SOURCE = re.compile(r"\.(py|pyi|pyx|c|h|cpp|hpp|cu|js|ts|css|sh|sql|md|rst)$")
# The package's own licence files, not those of what it bundles.
_LICENSE_FILE = re.compile(
    r"^[^/]+\.dist-info/(licenses/)?(licen[cs]e|copying)([-.][^/]*)?$", re.IGNORECASE
)
OWN_NAME = "arriero"
PACKAGE = "pypi:"  # how an address begins


class PackageMissing(ValueError):
    """A package that was listed is not installed on the machine that reads it."""


class PackageDiffers(ValueError):
    """A package has other files, or another licence, than when it was listed."""


@dataclass(frozen=True)
class Package:
    """An installed distribution. files: (path inside the package, where it is), sorted."""

    name: str
    version: str
    license: str
    files: tuple[tuple[str, Path], ...]
    record: tuple[tuple[str, str, int], ...]

    @property
    def address(self) -> str:
        """As the package is listed: ``pypi:<name>==<version>``."""
        return _address(self.name, self.version)


def _address(name: str, version: str) -> str:
    return f"{PACKAGE}{name}=={version}"


def installed(addresses: Collection[str] | None = None) -> Iterator[Package]:
    """Installed distributions by name, each once, without this project itself.

    Args:
        addresses: only those packages; by default all.

    ``files`` holds the source files listed in RECORD that lie inside the package's own folder:
    no scripts, no compiled files, nothing an installer generated.
    """
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        name = _normalised(distribution.metadata["Name"] or "")
        if name and name != OWN_NAME:
            found.setdefault(name, distribution)  # the first on the path is the one imported
    for name, distribution in sorted(found.items()):
        if addresses is not None and _address(name, distribution.version) not in addresses:
            continue
        files, record = [], []
        listed = _listed(distribution)
        for file in listed:
            path = file.as_posix()
            if path.startswith(("/", "../")) or _INSTALLER.search(path):
                continue
            if not _SOURCE.search(path.lower()):
                continue
            files.append((path, Path(str(distribution.locate_file(file)))))
            digest = f"{file.hash.mode}={file.hash.value}" if file.hash else ""
            record.append((path, digest, file.size or 0))
        yield Package(
            name,
            distribution.version,
            license_of_package(distribution.metadata, listed),
            tuple(sorted(files)),
            tuple(sorted(record)),
        )


def _listed(distribution: metadata.Distribution) -> list[metadata.PackagePath]:
    """Files that the installer recorded, whether they are still there or not.

    Not ``Distribution.files``: later versions of Python leave out what is gone, and so does this
    one once the `importlib_metadata` package was imported, by whatever library.
    """
    text = distribution.read_text("RECORD")
    if text is None:
        return list(distribution.files or [])
    listed = []
    for row in filter(None, csv.reader(text.splitlines())):
        name, digest, size = (*row, "", "")[:3]  # only the name is always there
        path = metadata.PackagePath(name)
        path.hash = metadata.FileHash(digest) if digest else None
        path.size = int(size) if size else None
        path.dist = distribution
        listed.append(path)
    return listed


def license_of_package(
    described: metadata.PackageMetadata, files: Sequence[metadata.PackagePath]
) -> str:
    """Licence by the metadata, and the conditions that the package's licence files add to it.

    Only those: the files' other licences are of parts, which the metadata's expression weighs.
    Where the metadata is silent, the licence files themselves say it. A file that RECORD lists need
    not be there: some distributors take licence files out of packages.
    """
    declared = license_of_metadata(described)
    names = [declared]
    for file in files:
        path = Path(str(file.locate()))
        if _LICENSE_FILE.search(file.as_posix()) and path.is_file():
            text = path.read_text("utf-8", "replace")
            found = license_of_text(own_part(text)).split(" AND ")
            names += [n for n in found if not declared or n.startswith(RESTRICTED)]
    return " AND ".join(dict.fromkeys(filter(None, names)))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def require_listed(hashes: Mapping[str, str]) -> None:
    """Refuse packages that are not what was listed: their files are read without a look at RECORD.

    Args:
        hashes: sha256 by address, as `fingerprints` has them.
    """
    own = {str(row["path"]): row["sha256"] for row in fingerprints(hashes)}
    for address, sha256 in sorted(hashes.items()):
        if address not in own:
            raise PackageMissing(missing(address))
        if own[address] != sha256:
            raise PackageDiffers(
                f"{address} has other files or another licence on this machine than where the"
                " corpus was listed. Install the same package on both (requirements.lock), start"
                " the flow again, or turn github_packages off"
            )


def missing(address: str) -> str:
    """What to say, and to do, of a package that is not there."""
    return (
        f"{address} is not installed on this machine, which reads it for the corpus. Install it as"
        " on the machine that started the step (requirements.lock), or turn github_packages off"
    )


def fingerprints(addresses: Collection[str] | None = None) -> list[dict[str, str | int]]:
    """One row per installed package for the raw artifact: path, size and sha256.

    ``path`` is ``pypi:<name>==<version>``; ``size`` the bytes of its source files; ``sha256`` that
    of its licence and of the paths, hashes and sizes RECORD lists for them. Nothing in it depends
    on where the package is installed; of its files only those that state its licence are read.

    Args:
        addresses: only those packages; by default all.
    """
    rows: list[dict[str, str | int]] = []
    for package in installed(addresses):
        text = "".join(f"{path}\t{digest}\t{size}\n" for path, digest, size in package.record)
        rows.append(
            {
                "path": package.address,
                "size": sum(size for _, _, size in package.record),
                "sha256": hashlib.sha256(f"{package.license}\n{text}".encode()).hexdigest(),
            }
        )
    return rows


def roots_and_files() -> tuple[list[Path], list[str]]:
    """Folders the packages are installed in, and their source files as ``pypi:`` addresses."""
    roots: set[Path] = set()
    files = []
    for package in installed():
        for inner, path in package.files:
            roots.add(Path(str(path).removesuffix(inner)))
            files.append(f"{package.address}/{inner}")
    return sorted(roots), files
