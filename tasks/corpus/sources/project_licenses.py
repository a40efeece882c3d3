"""The licence of a project's files, by what its manifests declare and its licence files say.

A licence file holds for the folder it lies in and below. Where several hold for a file all must
permit: a folder's own licence cannot widen the project's, and may narrow it.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections import defaultdict

from tasks.corpus.sources.code_languages import extension_of
from tasks.corpus.sources.comments import SYNTAX
from tasks.corpus.sources.license_texts import RESTRICTED, license_of_text
from tasks.corpus.sources.licenses import known_name

MAX_FOLDERS = 20_000
_LICENSE_FILE = re.compile(
    r"^(?:[a-z0-9.+]{1,20}[-_.])?(?:licen[cs]es?|copying|unlicense)(?:[-._].{0,60})?$",
    re.IGNORECASE,
)
_MANIFESTS = frozenset(("package.json", "composer.json", "cargo.toml", "pyproject.toml"))
_DEEPEST_MANIFEST = 1  # a project's own folder may be the top or the one folder in it


def states_licence(inner: str) -> bool:
    """Whether a file may state a licence by its name; ``license.py`` is code about licences."""
    base = posixpath.basename(inner)
    if base.lower() in _MANIFESTS:
        return inner.count("/") <= _DEEPEST_MANIFEST
    return _LICENSE_FILE.match(base) is not None and extension_of(base) not in SYNTAX


class ProjectLicenses:
    """Licences by folder of one project. Memory grows with folders that state one, bounded."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = defaultdict(list)
        self._declared: dict[str, list[str]] = defaultdict(list)
        self._found: dict[str, str] = {}

    def add(self, inner: str, data: bytes) -> None:
        """A file for which `states_licence` holds, by its path inside the project."""
        self._found.clear()
        folder, base = posixpath.split(inner)
        if len(self._texts) + len(self._declared) > MAX_FOLDERS:
            return
        text = data.decode("utf-8-sig", "replace")
        if base.lower() in _MANIFESTS:
            name = declared_by_manifest(base.lower(), text)
            if name:
                self._declared[folder].append(name)
        else:
            found = license_of_text(text)
            names = found.split(" AND ") if found else []
            self._texts[folder] += [n for n in names if n not in self._texts[folder]]

    def of(self, inner: str) -> str:
        """Licence of a file as an SPDX expression, "" when it is not known."""
        return self._of_folder(posixpath.dirname(inner))

    def _of_folder(self, folder: str) -> str:
        found = self._found.get(folder)
        if found is None:
            names = []
            at = folder
            while True:
                names.append(self._own(at))
                if not at:
                    break
                at = posixpath.dirname(at)
            parts = dict.fromkeys(filter(None, reversed(names)))
            found = _all_of(list(parts))
            if len(self._found) < MAX_FOLDERS:
                self._found[folder] = found
        return found

    def _own(self, folder: str) -> str:
        """What a folder's own files say: a choice that is declared, else all that is named."""
        declared, texts = self._declared.get(folder, []), self._texts.get(folder, [])
        if any(re.search(r"\bOR\b", name) for name in declared):
            # The licence files of a choice hold all its sides.
            texts = [name for name in texts if name.startswith(RESTRICTED)]
        return _all_of(list(dict.fromkeys([*declared, *texts])))


def _all_of(names: list[str]) -> str:
    """Expression that asks for all of ``names``."""
    joined = [name if " OR " not in name or len(names) == 1 else f"({name})" for name in names]
    flat = dict.fromkeys(part for name in joined for part in _conjuncts(name))
    return " AND ".join(flat)


def _conjuncts(name: str) -> list[str]:
    return [name] if "(" in name else name.split(" AND ")


def declared_by_manifest(base: str, text: str) -> str:
    """Licence that a package's manifest declares, as SPDX where it can be told; "" if none.

    Args:
        base: name of the manifest, in lower case.
    """
    try:
        made = json.loads(text) if base.endswith(".json") else tomllib.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(made, dict):
        return ""
    if base == "cargo.toml":
        made = made.get("package")
    elif base == "pyproject.toml":
        made = made.get("project")
    stated = made.get("license") if isinstance(made, dict) else None
    if isinstance(stated, dict):  # {type: ...} of old package.json, {text: ...} of pyproject.toml
        stated = stated.get("type") or stated.get("text")
    if isinstance(stated, list):
        stated = " OR ".join(name for name in stated if isinstance(name, str))  # composer's choice
    if not isinstance(stated, str) or not stated.strip() or len(stated) > 10_000:
        return ""
    stated = stated.strip()
    if stated.upper().startswith("SEE LICEN") or stated.upper() == "UNKNOWN":
        return ""
    if stated.upper() == "UNLICENSED":  # npm's word for no licence at all
        return f"{RESTRICTED}proprietary"
    return known_name(stated.replace("/", " OR ")) or re.sub(r"[\s()]+", "-", stated)[:120]
