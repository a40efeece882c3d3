"""Directories as content: hashing, durable writes, and disk errors with a name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

MANIFEST = "manifest.json"
LOGS = "logs"
CHUNK = 1 << 20  # bytes read at a time
FULL_BYTES = 1 << 20  # a disk with less room than this is full
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_PORTABLE = re.compile("[\\\\\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")


class StoreError(ValueError):
    """The artifact store cannot do what was asked; the message says what to do."""


class StoreNotWritable(StoreError):
    """The store, or the disk under it, refuses writes."""


class StoreFull(StoreError):
    """No space (or no quota) is left on the disk of the store."""


class FileEntry(BaseModel):
    """Content of one file of an artifact: sha256 as hex, size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size: int


@contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Name the disk errors that a user can act on; others pass unchanged."""
    try:
        yield
    except OSError as error:
        where = error.filename or root
        if error.errno in _FULL:
            raise StoreFull(_no_space(where, root)) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise StoreNotWritable(
                f"cannot write {where} in the artifact store {root} ({error.strerror}); nothing "
                "was published: unlock it or set ARRIERO_STORE to another folder"
            ) from error
        raise


def out_of_space(failure: BaseException, root: Path) -> StoreFull | None:
    """``StoreFull`` when a stage failed because the disk of ``root`` is full, else None.

    NumPy, safetensors and a trainer's process report a full disk without its error number, so
    the disk itself is asked too; call this before the staging directory is removed.
    """
    if not isinstance(failure, Exception) or isinstance(failure, StoreFull):
        return None
    number = failure.errno if isinstance(failure, OSError) else None
    if number not in _FULL and not _is_full(root):
        return None
    where = (failure.filename if isinstance(failure, OSError) else None) or root
    return StoreFull(_no_space(where, root))


def _is_full(root: Path) -> bool:
    return shutil.disk_usage(root).free < FULL_BYTES


def _no_space(where: Any, root: Path) -> str:
    return (
        f"no space left for {where} in the artifact store {root}; nothing was published: "
        "free space or set ARRIERO_STORE to another disk, then run again"
    )


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8; NaN is a ``ValueError``."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8")


def portable_name(name: str) -> str:
    r"""A file's name as text that UTF-8, JSON, Parquet and databases hold; see `native_name`.

    A name is bytes. Those that are no UTF-8, which Python has as lone surrogates, become ``\xNN``,
    any other surrogate ``\uNNNN``, and a backslash is doubled: other names stay as they are.
    """
    return _NOT_PORTABLE.sub(lambda found: _escaped(found.group()), name)


def native_name(name: str) -> str:
    """The name that `portable_name` was given: what the operating system knows the file by."""
    return _ESCAPE.sub(_unescaped, name)


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _unescaped(found: re.Match[str]) -> str:
    byte, code = found.groups()
    if byte:
        return chr(0xDC00 + int(byte, 16))
    return chr(int(code, 16)) if code else "\\"


def hash_file(path: Path, *, durable: bool = False) -> FileEntry:
    """sha256 and size of a regular file; with ``durable`` it is fsynced as well."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
        if durable:
            os.fsync(handle.fileno())
    return FileEntry(sha256=digest.hexdigest(), size=size)


def list_files(root: Path) -> list[str]:
    """Relative posix paths of all files under ``root``, sorted, the manifest left out.

    Raises ``ValueError`` for a link or a special file: an artifact is plain bytes only.
    """
    found: list[str] = []
    for folder, folders, names in os.walk(root, onerror=_raise):
        for name in [*names, *(n for n in folders if (Path(folder) / n).is_symlink())]:
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ValueError(f"{path}: artifacts hold regular files only, no links or devices")
            if relative != MANIFEST:
                found.append(relative)
    return sorted(found)


def is_log(name: str) -> bool:
    """Whether a file is kept but is no part of the content digest."""
    return name.startswith(LOGS + "/")


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """sha256 over the sorted names and hashes of the files that are no logs."""
    content = [[name, files[name].sha256] for name in sorted(files) if not is_log(name)]
    return hashlib.sha256(canonical_json(content)).hexdigest()


def fsync_folder(path: Path) -> None:
    """Make creations and renames inside ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folders(root: Path, files: Iterable[str]) -> None:
    """Make the folders that hold ``files`` durable, deepest first, then ``root``."""
    folders = {parent for name in files for parent in (root / name).parents}
    inside = [folder for folder in folders if folder.is_relative_to(root)]
    for folder in sorted({*inside, root}, key=lambda path: len(path.parts), reverse=True):
        fsync_folder(folder)


def write_durably(path: Path, data: bytes) -> None:
    """Write to a temporary name beside ``path``, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
    fsync_folder(path.parent)


def _raise(error: OSError) -> None:
    raise error
