"""Fixtures of the registry's tests: a migrated database, a store, and small artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from registry.artifacts import ArtifactRef, Kind, Store, recipe_key
from registry.database import Registry, upgrade

Put = Callable[..., ArtifactRef]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty registry at head, to be copied: migrating costs more than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "registry.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def url(tmp_path: Path, migrated: Path) -> str:
    """Address of a registry at head of this test's own."""
    path = tmp_path / "registry.sqlite"
    path.write_bytes(migrated.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
def registry(url: str) -> Registry:
    """An empty registry."""
    return Registry(url)


@pytest.fixture
def store(tmp_path: Path, registry: Registry) -> Store:
    """An empty store."""
    return Store(tmp_path / "store", registry)


@pytest.fixture
def put(store: Store) -> Put:
    """``put(kind, stage, files, inputs)`` publishes an artifact with these texts."""

    def publish(
        kind: Kind,
        stage: str,
        files: Mapping[str, str] | None = None,
        inputs: Mapping[str, ArtifactRef] | None = None,
        *,
        seed: int = 0,
        into: Store | None = None,
        **fields: object,
    ) -> ArtifactRef:
        target = into or store
        given = dict(inputs or {})
        staging = target.new_staging()
        for name, text in (files or {"data.txt": f"{stage} {seed}"}).items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_text(text, encoding="utf-8")
        parameters = {"seed": seed}
        digests = {name: ref.digest for name, ref in given.items()}
        return target.publish(
            staging,
            key=recipe_key(stage, 1, {}, parameters, digests),
            kind=kind,
            stage=stage,
            stage_version=1,
            parameters=parameters,
            inputs=given,
            **fields,  # type: ignore[arg-type]
        )

    return publish


@pytest.fixture
def chain(put: Put) -> dict[str, ArtifactRef]:
    """raw -> documents -> tokens -> checkpoint -> model, as the pipeline makes them."""
    lines = [{"path": f"c4/{n}.json.gz", "size": 10 + n, "sha256": f"{n:064x}"} for n in range(3)]
    fingerprints = "".join(json.dumps(line) + "\n" for line in lines)
    raw = put(Kind.RAW, "raw.c4", {"files.jsonl": fingerprints})
    documents = put(
        Kind.DOCUMENTS,
        "documents.c4",
        {"documents.parquet": "x", "licenses.json": '{"ODC-By": 7}'},
        {"raw": raw},
    )
    tokenizer = put(Kind.TOKENIZER, "tokenizer", None, {"corpus": documents})
    tokens = put(Kind.TOKENS, "tokens", None, {"corpus": documents, "tokenizer": tokenizer})
    checkpoint = put(Kind.CHECKPOINT, "pretraining", None, {"tokens": tokens})
    model = put(Kind.MODEL, "export", None, {"checkpoint": checkpoint})
    return {
        "raw": raw,
        "documents": documents,
        "tokenizer": tokenizer,
        "tokens": tokens,
        "checkpoint": checkpoint,
        "model": model,
    }
