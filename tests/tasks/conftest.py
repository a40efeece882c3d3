"""A workplace of its own for each test, and MLflow on a database of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from registry import outbox, runs
from registry.artifacts import ArtifactRef, Kind, recipe_key
from registry.database import upgrade
from tasks.runner import Workplace, open_workplace

Attempt = Callable[..., tuple[str, ArtifactRef]]


@pytest.fixture(scope="session")
def migrated_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty registry at head, to be copied: migrating costs more than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "registry.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def place(tmp_path: Path, migrated_registry: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """An empty home, as the environment of this process names it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "registry.sqlite").write_bytes(migrated_registry.read_bytes())
    for name in [n for n in os.environ if n.startswith(("ARRIERO_", "MLFLOW_TRACKING"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARRIERO_HOME", str(home))
    return open_workplace()


@pytest.fixture(scope="session")
def migrated_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with all its tables, to be copied."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.sqlite"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_uri(
    tmp_path: Path, migrated_mlflow: Path, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> str:
    """MLflow without a server: its SQLite store and a folder for files, for this test alone."""
    database = tmp_path / "mlflow.sqlite"
    database.write_bytes(migrated_mlflow.read_bytes())
    monkeypatch.chdir(tmp_path)  # the store puts its files under ./mlruns
    uri = f"sqlite:///{database}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture
def attempt(place: Workplace) -> Attempt:
    """``attempt(kind, stage, files)`` records a flow, an attempt under it and its artifact.

    What the runner enqueues is enqueued. Returns the id of the attempt's record and the artifact.
    """

    def make(
        kind: Kind,
        stage: str,
        files: Mapping[str, str],
        *,
        parent: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> tuple[str, ArtifactRef]:
        parent = parent or runs.start_run(place.registry, flow="pipeline", parameters={"a": 1})
        given = dict(parameters or {"seed": 3})
        key = recipe_key(stage, 1, {}, {**given, "files": dict(files)}, {})
        record = runs.start_run(
            place.registry,
            flow="pipeline",
            stage=stage,
            parent_id=parent,
            recipe=key,
            parameters=given,
        )
        staging = place.store.new_staging()
        for name, text in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_text(text, encoding="utf-8")
        ref = place.store.publish(
            staging,
            key=key,
            kind=kind,
            stage=stage,
            stage_version=1,
            parameters=given,
            inputs={},
            run_id=record,
            **fields,
        )
        runs.finish_run(place.registry, record, "completed", artifact_key=ref.key)
        with place.registry.session() as session:
            outbox.enqueue(
                session,
                topic="stage",
                dedupe_key=f"stage:{record}",
                payload={
                    "run_id": record,
                    "parent_id": parent,
                    "stage": stage,
                    "status": "completed",
                    "artifact": ref.model_dump(mode="json"),
                },
            )
        return record, ref

    return make


def jsonl(rows: list[dict[str, Any]]) -> str:
    """Rows as they stand in a metrics.jsonl."""
    return "".join(json.dumps(row) + "\n" for row in rows)
