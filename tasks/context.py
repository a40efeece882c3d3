"""What a stage's plain code is given, and how it writes files: no orchestrator in here."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def _no_progress(fraction: float, line: str) -> None:
    """Progress sink of a stage that nobody watches."""


def _no_metrics(values: Mapping[str, float], step: int) -> None:
    """Metric sink of a stage that nobody tracks."""


def _no_events(events: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Event sink of a stage that no registry records."""


@dataclass(frozen=True)
class StageContext:
    """Where one attempt of a stage writes and whom it tells.

    out: staged directory; becomes the immutable artifact by one rename. Files under ``out/logs``
        are kept but are no part of the content digest (times, hosts, absolute paths).
    work: scratch directory of the recipe; survives attempts, so resumable state lives here.
    progress: ``progress(fraction in 0..1, one line)``.
    metrics: ``metrics({name: value}, step)``; delivered to the tracker outside the stage.
    events: ``events([(kind, payload), ...])``; recorded in the registry with this attempt, each
        once even when several attempts of the recipe tell of it.
    attempt: 1 for the first try of this recipe in this run.
    """

    out: Path
    work: Path
    progress: Callable[[float, str], None] = _no_progress
    metrics: Callable[[Mapping[str, float], int], None] = _no_metrics
    events: Callable[[Sequence[tuple[str, Mapping[str, Any]]]], None] = _no_events
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("arriero"))
    attempt: int = 1

    @property
    def logs(self) -> Path:
        """``out/logs``, made on first use."""
        path = self.out / "logs"
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class StageResult:
    """What a stage says about its artifact, for the manifest.

    reproducibility: ``bit`` or ``numeric: <bound>`` (DESIGN section 3).
    notes: sentences a reader of the report must see (a filter that was off, a missing source).
    """

    counts: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    reproducibility: str = "bit"
    notes: list[str] = field(default_factory=list)


def recipe_parameters(parameters: BaseModel) -> dict[str, Any]:
    """Parameters that change the result, as JSON values.

    Leaves out every field whose ``json_schema_extra`` says ``{"recipe": False}`` (limits on time,
    number of worker processes), in nested models too.
    """
    kept: dict[str, Any] = {}
    dumped = parameters.model_dump(mode="json")
    for name, info in type(parameters).model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("recipe") is False:
            continue
        value = getattr(parameters, name)
        kept[name] = recipe_parameters(value) if isinstance(value, BaseModel) else dumped[name]
    return kept


def fsync_directory(path: Path) -> None:
    """Make a rename or creation inside ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary name beside ``path``, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
    fsync_directory(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` atomically."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, value: Any) -> None:
    """Write ``value`` as canonical JSON (sorted keys, two spaces, final newline) atomically."""
    atomic_write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
