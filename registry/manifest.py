"""Manifests: what an artifact is, how its recipe is keyed, and whether its files are intact."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.files import (
    MANIFEST,
    FileEntry,
    StoreError,
    canonical_json,
    content_digest,
    hash_file,
    list_files,
)
from registry.schema import Artifact


class Kind(StrEnum):
    """What an artifact is; the first folder of its path."""

    RAW = "raw"
    DOCUMENTS = "documents"
    TOKENIZER = "tokenizer"
    TOKENS = "tokens"
    CHECKPOINT = "checkpoint"
    MODEL = "model"
    INSTRUCTIONS = "instructions"
    EVALUATION = "evaluation"
    QUALITY = "quality"
    REPORT = "report"


class ArtifactRef(BaseModel):
    """What tasks pass to each other instead of data. ``uri`` is relative to the store's root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    stage: str
    key: str
    digest: str
    uri: str


class Manifest(BaseModel):
    """``manifest.json``: how an artifact was made and what every file of it hashes to.

    ``inputs`` maps input names to digests, ``input_keys`` to keys. ``log_files`` are kept but are
    no part of ``digest``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    key: str
    digest: str
    kind: Kind
    stage: str
    stage_version: int
    parameters: dict[str, Any]
    inputs: dict[str, str]
    input_keys: dict[str, str]
    files: dict[str, FileEntry]
    log_files: dict[str, FileEntry] = Field(default_factory=dict)
    counts: dict[str, Any] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    libraries: dict[str, str] = Field(default_factory=dict)
    reproducibility: str = "bit"
    notes: list[str] = Field(default_factory=list)
    sample: bool = False
    created_at: datetime
    run_id: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files, logs included."""
        return sum(entry.size for entry in (*self.files.values(), *self.log_files.values()))


def recipe_key(
    stage: str,
    version: int,
    libraries: Mapping[str, str],
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> str:
    """Key of what a stage would make: sha256 over canonical JSON of its recipe.

    ``inputs`` maps input names to digests (content), never to keys or paths.
    """
    recipe = {
        "stage": stage,
        "version": version,
        "libraries": dict(libraries),
        "parameters": dict(parameters),
        "inputs": dict(inputs),
    }
    return hashlib.sha256(canonical_json(recipe)).hexdigest()


def ref_of(row: Artifact) -> ArtifactRef:
    """Reference of a registry row."""
    return ArtifactRef(
        kind=Kind(row.kind), stage=row.stage, key=row.key, digest=row.digest, uri=row.uri
    )


def read_manifest(folder: Path) -> Manifest:
    """Manifest of a directory; ``StoreError`` names the file when it cannot be read."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{path}: is no manifest ({where}: {first['msg']})") from error


def wrong_sizes(folder: Path, manifest: Manifest) -> list[str]:
    """Problems that show without hashing: files that are absent or of another size."""
    problems = []
    for name, entry in {**manifest.files, **manifest.log_files}.items():
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
            continue
        if size != entry.size:
            problems.append(f"{name}: {size} bytes, the manifest says {entry.size}")
    return problems


def verify_folder(folder: Path, digest: str | None) -> list[str]:
    """Problems of a directory against its own manifest and, if given, the expected digest."""
    try:
        manifest = read_manifest(folder)
        present = set(list_files(folder))
    except ValueError as error:
        return [str(error)]
    problems = wrong_sizes(folder, manifest)
    expected = {**manifest.files, **manifest.log_files}
    for name in sorted(present - expected.keys()):
        problems.append(f"{name}: not in the manifest")
    if not problems:
        for name, entry in expected.items():
            if hash_file(folder / name).sha256 != entry.sha256:
                problems.append(f"{name}: sha256 differs, the file was changed")
    if content_digest(manifest.files) != manifest.digest:
        problems.append(f"{MANIFEST}: its digest is not the digest of its files")
    if digest is not None and manifest.digest != digest:
        problems.append(f"{MANIFEST}: has digest {manifest.digest[:12]}, expected {digest[:12]}")
    return problems
