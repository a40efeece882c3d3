"""Raw dumps behind a URL (fsspec: s3://, gs://, https://, memory:// ...), fetched shard by shard.

A shard's files are copied to its work folder, hashed on the way and compared with the listing, read
like any others, and removed: the disk holds as many shards as there are workers.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from registry.files import native_name, portable_name
from tasks.corpus.locate import is_note

CHUNK = 1 << 20
PREFIX = "corpus/"


def is_url(root: str) -> bool:
    """Whether a root is a URL of fsspec and no path."""
    return "://" in root


def remote_rows(url: str, source: str) -> list[dict[str, str | int]]:
    """Rows of a listing (path, size, sha256) of a source's files, sorted; reads every byte once.

    Args:
        url: of the folder that holds the sources' folders.

    Raises:
        ValueError: no such protocol, or the folder cannot be listed.
    """
    system, base = _open(url)
    folder = f"{base}/{source}"
    if not system.isdir(folder):
        return []
    rows: list[dict[str, str | int]] = []
    for name in sorted(system.find(folder)):
        relative = name[len(folder) :].strip("/")
        parts = relative.split("/")
        if any(part.startswith(".") for part in parts):
            continue
        if source != "github" and is_note(parts[-1]):
            continue
        size, digest = 0, hashlib.sha256()
        with system.open(name, "rb") as handle:
            while chunk := handle.read(CHUNK):
                size += len(chunk)
                digest.update(chunk)
        path = portable_name(f"{PREFIX}{source}/{relative}")
        rows.append({"path": path, "size": size, "sha256": digest.hexdigest()})
    return rows


@contextmanager
def fetched(
    url: str, files: Sequence[str], hashes: Mapping[str, str], work: Path
) -> Iterator[Path]:
    """A folder with copies of ``files`` under the names they are listed by, for as long as needed.

    Raises:
        RawFilesChanged: a file is gone, or not the one listed.
    """
    # Only here: a worker starts sooner without a database.
    from registry.fingerprints import RawFilesChanged, is_address

    system, base = _open(url)
    with tempfile.TemporaryDirectory(prefix="fetched-", dir=work) as folder:
        for name in files:
            if is_address(name):
                continue
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            try:
                with (
                    system.open(f"{base}/{native_name(name).removeprefix(PREFIX)}", "rb") as source,
                    target.open("wb") as copy,
                ):
                    while chunk := source.read(CHUNK):
                        digest.update(chunk)
                        copy.write(chunk)
            except FileNotFoundError as error:
                raise RawFilesChanged(f"{name} is gone from {_shown(url)}") from error
            if digest.hexdigest() != hashes[name]:
                raise RawFilesChanged(
                    f"{name} under {_shown(url)} is not the file that was listed. Start the flow"
                    " again: it lists the dumps anew."
                )
        yield Path(folder)


def _open(url: str) -> tuple[Any, str]:
    """File system and path of a URL; credentials come from the environment, as fsspec reads it."""
    try:
        system, base = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"raw_url {_shown(url)}: {error}. fsspec needs the package of its protocol"
            " (s3fs for s3://, gcsfs for gs://)"
        ) from error
    return system, str(base).rstrip("/")


def _shown(url: str) -> str:
    """The URL without what may be a secret: user, password, query."""
    protocol, _, rest = url.partition("://")
    return f"{protocol}://{rest.rpartition('@')[2].partition('?')[0]}"
