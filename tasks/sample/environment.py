"""What the sample is made of: the Python packages and the standard library on this machine.

Everything is read from files (source, metadata, licence texts) without importing the packages.
Order is a function of the installed versions and the seed alone, so the same environment gives
the same sample.
"""

from __future__ import annotations

import ast
import os
import platform
import random
import re
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import cast

STANDARD_LIBRARY = "python"
# Our own metadata would make the sample change with our own README.
EXCLUDED_DISTRIBUTIONS = {"arriero"}
HEADER = re.compile(
    r"^(?P<indent> *)(?:async +)?(?P<kind>def|class) +(?P<name>\w+)(?=[(:])", re.MULTILINE
)
BODY = re.compile(r'[^\n"#]{0,200}:[ \t]*(?:#[^\n]*)?\n\s*[rRuU]?"""')
MODULE_DOCSTRING = re.compile(r'(?:\s*#[^\n]*\n|\s)*[rRuU]?"""')
BRACKET = re.compile(r"[()]")
LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice)", re.IGNORECASE)
SKIPPED_FOLDERS = {"tests", "test", "testing", "idle_test", "site-packages", "dist-packages"}
LARGEST_SOURCE_FILE = 400_000  # bytes; larger ones are generated tables


@dataclass(frozen=True)
class Docstring:
    """One docstring with the place where it stands."""

    package: str
    version: str
    module: str
    name: str  # qualified inside the module; '' for the module itself
    signature: str  # '' for modules and classes
    text: str

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


@dataclass(frozen=True)
class Description:
    """Long description (README) of a distribution."""

    package: str
    version: str
    summary: str
    licence: str
    text: str


@dataclass
class Environment:
    """Reads the installed packages. `used` collects what went into the sample."""

    seed: int = 0
    used: dict[str, str] = field(default_factory=dict)
    _versions: dict[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def distributions(self) -> dict[str, metadata.Distribution]:
        """Installed distributions by normalised name, sorted."""
        found: dict[str, metadata.Distribution] = {}
        for distribution in metadata.distributions():
            name = distribution.metadata["Name"]
            if name and _normalised(name) not in EXCLUDED_DISTRIBUTIONS:
                found.setdefault(_normalised(name), distribution)
        return dict(sorted(found.items()))

    def version(self, package: str) -> str:
        # Distribution.version parses the metadata file on every call.
        if package not in self._versions:
            self._versions[package] = (
                platform.python_version()
                if package == STANDARD_LIBRARY
                else self.distributions[package].version
            )
        return self._versions[package]

    def installed_version(self, package: str) -> str | None:
        """Like `version`; None when the package is not installed."""
        if package == STANDARD_LIBRARY or package in self.distributions:
            return self.version(package)
        return None

    def licence(self, package: str) -> str:
        """Licence expression, field or classifiers of the metadata, whichever comes first."""
        fields = cast(Message, self.distributions[package].metadata)
        stated = fields.get("License-Expression") or (fields.get("License") or "").strip()
        if stated and len(stated) < 80:
            return stated
        classifiers = [
            line.rsplit(" :: ", 1)[-1]
            for line in fields.get_all("Classifier") or []
            if line.startswith("License ::")
        ]
        return "; ".join(classifiers) or "unknown"

    def descriptions(self, minimum: int = 1_000) -> Iterator[Description]:
        """Long descriptions of at least `minimum` characters, in order of package name."""
        for package, distribution in self.distributions.items():
            fields = cast(Message, distribution.metadata)
            payload = fields.get_payload()
            text = payload if isinstance(payload, str) else ""
            if not text.strip():
                text = fields.get("Description") or ""
            if len(text) < minimum:
                continue
            self.used[package] = distribution.version
            yield Description(
                package=package,
                version=distribution.version,
                summary=fields.get("Summary") or package,
                licence=self.licence(package),
                text=text.replace("\r\n", "\n"),
            )

    def licence_texts(self, minimum: int = 4_000) -> Iterator[tuple[str, str]]:
        """(package, text) of distinct licence files of at least `minimum` characters."""
        seen: set[str] = set()
        library = Path(sysconfig.get_paths()["stdlib"])
        files = [
            (package, Path(str(distribution.locate_file(file))))
            for package, distribution in self.distributions.items()
            for file in sorted(distribution.files or [], key=str)
            if ".dist-info" in str(file) and LICENCE_FILE.search(file.name)
        ]
        for package, path in [(STANDARD_LIBRARY, library / "LICENSE.txt"), *files]:
            if not path.is_file():
                continue
            text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
            key = "".join(text.split())
            if len(text) < minimum or key in seen:
                continue
            seen.add(key)
            self.used[package] = self.version(package)
            yield package, text

    def source_files(self, package: str, folder: str) -> list[tuple[str, Path]]:
        """(module, path) of the source files of an import package, tests left out, shuffled.

        Empty when the package is not installed. The order is a function of the seed.
        """
        if package == STANDARD_LIBRARY:
            root = Path(sysconfig.get_paths()["stdlib"])
        elif package in self.distributions:
            root = Path(str(self.distributions[package].locate_file("")))
        else:
            return []
        files = sorted(_python_files(root / folder), key=lambda path: path.as_posix())
        random.Random(f"{self.seed}/{package}/{folder}").shuffle(files)
        return [(_module(path.relative_to(root)), path) for path in files]

    def docstrings(
        self, packages: Sequence[tuple[str, str]], minimum: int = 300
    ) -> Iterator[Docstring]:
        """Docstrings of at least `minimum` characters of (distribution, import folder) pairs.

        Private names are left out.
        """
        for package, folder in packages:
            for module, path in self.source_files(package, folder):
                source = path.read_text(encoding="utf-8", errors="replace")
                for name, signature, text in _scan(source):
                    if len(text) >= minimum:
                        version = self.used[package] = self.version(package)
                        yield Docstring(package, version, module, name, signature, text)


def _scan(source: str) -> Iterator[tuple[str, str, str]]:
    """(qualified name, signature, docstring) of a module, its public classes and functions.

    A scan of headers by indentation: about ten times as fast as `ast.parse`, which matters for
    fifty megabytes of source. A header inside a string literal can be taken for a real one; here
    that costs nothing but an odd entry.
    """
    opening = MODULE_DOCSTRING.match(source)
    if opening:
        yield from _docstring("", "", source, opening.end())
    scopes: list[tuple[int, str]] = []
    for header in HEADER.finditer(source):
        indent = len(header["indent"])
        while scopes and scopes[-1][0] >= indent:
            scopes.pop()
        scopes.append((indent, header["name"]))
        if any(name.startswith("_") for _, name in scopes):
            continue
        end = _closing(source, header.end()) if source[header.end()] == "(" else header.end()
        body = BODY.match(source, end)
        if body:
            signature = source[header.end() : end] if header["kind"] == "def" else ""
            name = ".".join(name for _, name in scopes)
            yield from _docstring(name, " ".join(signature.split()), source, body.end())


def _docstring(
    name: str, signature: str, source: str, start: int
) -> Iterator[tuple[str, str, str]]:
    """The literal whose opening quotes end at `start`, with escapes resolved unless raw."""
    stop = source.find('"""', start)
    if stop < 0:
        return
    text = source[start:stop]
    raw = source[start - 4 : start - 3] in ("r", "R")
    if "\\" in text and not raw:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escape sequences
            try:
                text = ast.literal_eval('"""' + text + '"""')
            except (SyntaxError, ValueError):
                return
    yield name, signature, text


def _closing(source: str, start: int) -> int:
    """End of the parenthesis that opens at `start`; the end of the source when it is open."""
    depth = 0
    for bracket in BRACKET.finditer(source, start):
        depth += 1 if bracket[0] == "(" else -1
        if depth == 0:
            return bracket.end()
    return len(source)


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _python_files(folder: Path) -> Iterator[Path]:
    """Source files below a folder, without tests and without other packages' folders."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("test_")
        ]
        for name in names:
            path = Path(parent, name)
            if (
                name.endswith(".py")
                and not name.startswith("test_")
                and path.stat().st_size < LARGEST_SOURCE_FILE
            ):
                yield path


def _module(relative: Path) -> str:
    parts = list(relative.with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)
