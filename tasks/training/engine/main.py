"""The trainer process: ``python -m tasks.training.engine.main --config run.json``, one per rank.

Exit codes: 0 done, 75 preempted (a checkpoint is there, start again), 78 the configuration cannot
work, 70 the loss diverged; anything else is a fault. Rank 0 also leaves the outcome in
``exit.json``, because torchrun replaces its workers' exit codes by 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tasks.context import atomic_write_json
from tasks.training.engine.config import (
    ATTEMPT,
    EXIT_CONFIG,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_PREEMPTED,
    ConfigError,
    EngineConfig,
    read_config,
)
from tasks.training.engine.lifeline import Lifeline
from tasks.training.engine.metrics import heartbeat_path


def main(arguments: list[str] | None = None) -> int:
    """Train as ``--config`` says and return the exit code."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", type=Path, required=True, help="resolved run.json")
    path = parser.parse_args(arguments).config
    try:
        config = read_config(path)
    except ConfigError as error:
        print(f"configuration error: {error}", file=sys.stderr, flush=True)
        return EXIT_CONFIG
    lifeline = Lifeline(config.grace_seconds)  # before the slow imports: a signal is never missed
    rank = int(os.environ.get("RANK", "0"))
    attempt = os.environ.get(ATTEMPT, "")
    config.work.mkdir(parents=True, exist_ok=True)
    ranks = config.work / "ranks"
    ranks.mkdir(exist_ok=True)
    mine = {"pid": os.getpid(), "host": platform.node(), "attempt": attempt}
    mine |= {"code": None, "device": False}
    atomic_write_json(ranks / f"{rank}.json", mine)

    def has_device() -> None:
        mine["device"] = True
        atomic_write_json(ranks / f"{rank}.json", mine)

    code, message = _train(config, lifeline, rank, started, attempt, has_device)
    atomic_write_json(ranks / f"{rank}.json", {**mine, "code": code})
    if message:
        print(message, file=sys.stderr, flush=True)
    if rank == 0 or code in (EXIT_CONFIG, EXIT_DIVERGED):
        outcome = {"code": code, "message": message, "attempt": attempt}
        atomic_write_json(config.work / "exit.json", outcome)
    return code


def _train(
    config: EngineConfig,
    lifeline: Lifeline,
    rank: int,
    started: float,
    attempt: str,
    has_device: Callable[[], None],
) -> tuple[int, str | None]:
    from tasks.training.engine import distributed, locks
    from tasks.training.engine.guards import Diverged
    from tasks.training.engine.loop import Outcome, Session

    heartbeat = heartbeat_path(config.work, attempt)
    heartbeat.parent.mkdir(exist_ok=True)

    def stop() -> bool:
        return lifeline.stop_requested

    try:
        if config.device == "cuda":
            locks.acquire_device(
                config.lock_directory or locks.device_directory(),
                locks.device_names(config.local_world),
                rank % config.local_world,  # of this machine, whose processes are numbered in a row
                lambda other: _has_device(
                    config.work, rank - rank % config.local_world + other, attempt
                ),
                beat=heartbeat.touch,
                stop_requested=stop,
            )
            has_device()
        session = Session(config, stop_requested=stop, started=started, heartbeat=heartbeat)
        outcome = session.run()
        distributed.stop()
    except distributed.StopRequested:
        return EXIT_PREEMPTED, "stopped on request while it waited for its device"
    except ConfigError as error:
        return EXIT_CONFIG, f"configuration error: {error}"
    except Diverged as error:
        return EXIT_DIVERGED, f"diverged: {error}"
    if outcome is Outcome.PREEMPTED:
        return EXIT_PREEMPTED, "stopped on request, a checkpoint was written"
    return EXIT_DONE, None


def _has_device(work: Path, rank: int, attempt: str) -> bool:
    path = work / "ranks" / f"{rank}.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return bool(told.get("attempt") == attempt and told.get("device"))


if __name__ == "__main__":
    sys.exit(main())
