"""GitHub sample: repositories as ``.tar.gz`` with their licence, like a download of a release.

Most are under MIT, BSD or Apache-2.0; a few are under LGPL or MPL, so that the licence filter has
something to reject.
"""

from __future__ import annotations

from pathlib import Path

from tasks.sample.archives import SourceReport, gzip_bytes, tar_bytes, write_bytes
from tasks.sample.environment import LARGEST_SOURCE_FILE, LICENCE_FILE, Environment

# Copyleft, each cut to a small share of the sample.
REJECTED = ("py7zr", "psycopg", "certifi", "pathspec", "tqdm", "orjson")
# Permissive, in the order in which they are taken until the sample is full.
ACCEPTED = (
    "h11", "click", "attrs", "itsdangerous", "blinker", "jinja2", "markupsafe", "packaging",
    "sortedcontainers", "cachetools", "more-itertools", "idna", "tabulate", "docopt", "pyparsing",
    "mako", "h2", "hpack", "sniffio", "mwxml", "starlette", "werkzeug", "flask", "httpx", "anyio",
    "networkx", "rich", "pydantic", "prefect",
)  # fmt: skip
SOURCE_SUFFIXES = {".py", ".pyi", ".md", ".rst", ".c", ".h", ".css", ".js", ".toml"}
REJECTED_CHARACTERS = 60_000
SMALLEST_REST = 30_000  # a repository cut to less would be hardly more than its licence


def make_github(folder: Path, environment: Environment, *, characters: int) -> SourceReport:
    """Write one ``<name>-<version>.tar.gz`` per package, about `characters` of source in all."""
    documents = written = 0
    for package in REJECTED:
        members = _tree(environment, package, REJECTED_CHARACTERS)
        if members:
            _write(folder, environment, package, members)
    for package in ACCEPTED:
        if characters - written < SMALLEST_REST:
            break
        members = _tree(environment, package, characters - written)
        if members:
            _write(folder, environment, package, members)
            sources = [payload for name, payload in members if not LICENCE_FILE.search(name)]
            documents += len(sources)
            written += sum(map(len, sources))
    return SourceReport(documents, written)


def _tree(environment: Environment, package: str, limit: int) -> list[tuple[str, bytes]]:
    """Licences first, then source files up to `limit` bytes; [] without both."""
    distribution = environment.distributions.get(package)
    if distribution is None:
        return []
    licences: list[tuple[str, bytes]] = []
    sources: list[tuple[str, bytes]] = []
    size = 0
    for file in sorted(distribution.files or [], key=str):
        path = Path(str(distribution.locate_file(file)))
        if not path.is_file() or ".." in file.parts:
            continue
        if ".dist-info" in str(file):
            if LICENCE_FILE.search(file.name) and file.name not in dict(licences):
                licences.append((file.name, path.read_bytes()))
            continue
        if file.suffix in SOURCE_SUFFIXES and 0 < path.stat().st_size < LARGEST_SOURCE_FILE:
            payload = path.read_bytes()
            if size + len(payload) > limit:
                continue
            size += len(payload)
            sources.append((str(file), payload))
    return [*licences, *sources] if licences and sources else []


def _write(
    folder: Path, environment: Environment, package: str, members: list[tuple[str, bytes]]
) -> None:
    version = environment.version(package)
    environment.used[package] = version
    root = f"{package}-{version}"
    archive = tar_bytes((f"{root}/{name}", payload) for name, payload in members)
    write_bytes(folder / f"{root}.tar.gz", gzip_bytes(archive))
