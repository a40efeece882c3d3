"""Run a stretch of a training run again and compare its losses with those that were logged.

The run's own ``run.json`` says how; its inputs come from the store. The stretch begins at the
newest checkpoint before it that the run left (``keep_every``), else at the initial weights.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.context import atomic_write_text
from tasks.training.cluster import agents_of
from tasks.training.engine import checkpoint
from tasks.training.engine.config import EngineConfig
from tasks.training.engine.metrics import read_lines
from tasks.training.launch import ProgressSink, launch

MOVED_STEPS = 20  # over which losses of another layout agree, see the manifest's class


@dataclass(frozen=True)
class Compared:
    """Losses of a stretch, then and now. bound: largest difference allowed, in nats."""

    began_at: int
    bound: float
    rows: list[tuple[int, float, float]]

    @property
    def furthest(self) -> float:
        """Largest difference of a step, in nats."""
        return max(abs(then - now) for _, then, now in self.rows)

    @property
    def same(self) -> bool:
        """Whether every step agrees within the bound; 0 asks for the same bits."""
        return self.furthest <= self.bound


def bound_of(reproducibility: str) -> float:
    """The bound in a manifest's class: ``bit`` or ``numeric: loss within <nats> ...``."""
    if reproducibility == "bit":
        return 0.0
    number = reproducibility.partition("within ")[2].split(" ")[0]
    try:
        return float(number)
    except ValueError:
        raise ValueError(f"no bound in the reproducibility class {reproducibility!r}") from None


def reproduce(
    logs: Path,
    work: Path,
    *,
    data: Path,
    init_from: Path | None,
    checkpoints: Path | None,
    first: int,
    last: int,
    bound: float,
    moved: bool = False,
    layout: dict[str, Any] | None = None,
    on_progress: ProgressSink = lambda fraction, line: None,
    start: Callable[..., None] = launch,
) -> Compared:
    """Train steps up to ``last`` again in ``work`` and compare steps ``first`` to ``last``.

    logs: the checkpoint artifact's, with run.json and metrics.jsonl. checkpoints: those that the
    run left, None without any. moved: it went on in another layout. layout: fields of the engine's
    layout to use in place of the run's.

    Raises:
        ValueError: the steps are not of the run, or their losses were not logged.
        ConfigError, TrainerFailed, TrainerPreempted: see ``tasks.training.launch``.
    """
    told = json.loads((logs / "run.json").read_text(encoding="utf-8"))
    steps = int(told["steps"])
    if not 1 <= first <= last <= steps:
        raise ValueError(f"steps {first}:{last}: the run has steps 1 to {steps}, a:b with a <= b")
    logged = {
        line["step"]: line["loss"]
        for line in read_lines(logs / "metrics.jsonl")
        if line.get("loss") is not None
    }
    wanted = [step for step in range(first, last + 1) if step in logged]
    if not wanted:
        every = told.get("log_every", 1)
        raise ValueError(f"no loss of steps {first}:{last} was logged (every {every} steps are)")
    changes = {"data": data, "work": work, "init_from": init_from, "until": last, "fault": None}
    quiet = {"checkpoint_every": steps, "checkpoint_seconds": None, "validate_every": 0}
    config = EngineConfig.model_validate(
        {**told, **changes, **quiet, "log_every": 1, "grace_seconds": 5.0, **(layout or {})}
    )
    began = _lay_out(checkpoints, work / "checkpoints", first)
    if moved and last > began + MOVED_STEPS:
        raise ValueError(
            f"the run changed its layout, so its losses are only promised over {MOVED_STEPS} steps:"
            f" from step {began}, the newest checkpoint before {first}, ask for one up to"
            f" {began + MOVED_STEPS} (keep_every keeps more checkpoints to begin from)"
        )
    run_json = work / "run.json"
    atomic_write_text(run_json, config.model_dump_json(indent=2) + "\n")
    start(
        run_json,
        log_path=work / "trainer.log",
        agents=agents_of(config),
        on_progress=on_progress,
    )
    again = {
        line["step"]: line["loss"]
        for line in read_lines(work / "metrics.jsonl")
        if line.get("loss") is not None
    }
    rows = [(step, logged[step], again.get(step, math.inf)) for step in wanted]
    return Compared(began, bound, rows)


def _lay_out(kept: Path | None, target: Path, first: int) -> int:
    """Copy the newest whole checkpoint before step ``first``; returns its step, 0 without one."""
    target.mkdir(parents=True, exist_ok=True)
    for directory in reversed(checkpoint.listed(kept) if kept is not None else []):
        step = int(directory.name.removeprefix("step-"))
        if step < first and not checkpoint.problems(directory):
            shutil.copytree(directory, target / directory.name, copy_function=_linked)
            return step
    return 0


def _linked(source: str, target: str) -> None:
    """A second name for a file that nobody changes, or a copy on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
