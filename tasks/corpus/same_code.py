"""Whether another machine has the code and the libraries that decide a shard's result.

A recipe is keyed by the versions of the machine that starts it. A shard that another machine reads
with other code would be published under that key, and found again under it for ever.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
import unicodedata
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("tasks", "model", "registry")  # what a shard's work may import of ours
MISSING = "missing"


class OtherCode(ValueError):
    """This machine has other code or other libraries than the one that started the step."""


@functools.cache
def code_identity() -> Mapping[str, str]:
    """sha256 over the sources of each of our packages, versions of the libraries that decide.

    The same for a checkout and a wheel made of it: only names below the package and bytes count.
    """
    from tasks.corpus.quality.stage import QUALITY
    from tasks.corpus.stage import CORPUS, LIBRARIES, TRAFILATURA

    found = {name: _sources(Path(_place(name))) for name in PACKAGES}
    found["python"] = ".".join(map(str, sys.version_info[:2]))
    found["unicode"] = unicodedata.unidata_version
    names = {*CORPUS.libraries, *QUALITY.libraries, *TRAFILATURA, "kenlm"}.union(
        *LIBRARIES.values()
    )
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra, or a source that this machine never reads
            found[name] = MISSING
    return found


def require_same_code(wanted: Mapping[str, str]) -> None:
    """Refuse to work for a machine whose :func:`code_identity` was ``wanted``.

    Raises:
        OtherCode: says what differs, and what to do.
    """
    own = code_identity()
    differ = [
        f"{name} is {_short(own.get(name, MISSING))} here and"
        f" {_short(wanted.get(name, MISSING))} there"
        for name in sorted({*own, *wanted})
        if own.get(name) != wanted.get(name)
    ]
    if differ:
        raise OtherCode(
            f"the machine {platform.node()} has not what the machine that started this step has:"
            f" {'; '.join(differ)}. Nothing was read here. Install the same Arriero with the"
            " versions of requirements.lock on both, start this machine's worker again, and start"
            " the flow again: it goes on with the shards that are done."
        )


def _place(package: str) -> str:
    file = import_module(package).__file__
    assert file is not None
    return str(Path(file).parent)


def _sources(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _short(value: str) -> str:
    return value[:12]
