"""Start the trainer as child processes, watch them, and leave none behind. Plain code, no Prefect.

How its processes are started is in ``tasks/training/cluster.py``. The trainer writes to
a log file, never to a pipe: whoever dies first, nobody blocks or breaks on the other.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.training.cluster import trainer_command
from tasks.training.engine.config import (
    ATTEMPT,
    EXIT_CONFIG,
    EXIT_DIVERGED,
    EXIT_PREEMPTED,
    ConfigError,
    EngineConfig,
    read_config,
)
from tasks.training.engine.lifeline import LAUNCHER_HOST, LAUNCHER_PID, PR_SET_PDEATHSIG
from tasks.training.engine.metrics import TRAINING, heartbeat_path
from tasks.training.follow import Follower, News
from tasks.training.processes import Processes

CHECKOUT = Path(__file__).resolve().parents[2]
HANG_FLOOR_SECONDS = 60.0
HANG_STEPS = 10  # median steps without a sign of life
FIRST_STEP_SECONDS = 3600.0  # without a sign of life before it is known how long a step takes

MetricsSink = Callable[[Mapping[str, float], int], None]
EventsSink = Callable[[list[dict[str, Any]]], object]
ProgressSink = Callable[[float, str], None]


class TrainerFailed(RuntimeError):
    """The trainer ended badly; the message ends with the tail of its log."""


class TrainerHung(TrainerFailed):
    """The trainer gave no sign of life for too long."""


class TrainerDiverged(TrainerFailed):
    """The guards gave up on the loss; the same run would diverge again."""


class TrainerPreempted(RuntimeError):
    """The trainer was asked to stop and wrote a checkpoint; starting again continues it."""


def launch(
    config_path: Path,
    *,
    log_path: Path,
    on_metrics: MetricsSink = lambda values, step: None,
    on_progress: ProgressSink = lambda fraction, line: None,
    on_events: EventsSink = lambda lines: None,
    agents: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    start_seconds: float = 600.0,
    poll_seconds: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run the trainer of ``config_path`` to its end; returns when it is done.

    Call it from a thread that lives until it returns: the kernel sends the death signal when the
    thread that forked ends.

    Args:
        log_path: the trainer's output is appended here.
        on_metrics: called with each line of metrics.jsonl, ``(numbers, step)``, once no roll-back
            can take it back: when a checkpoint covers its step, or the trainer has ended.
        agents: what starts the command behind it on every machine of the run (`srun ...`), passes
            signals on to it and ends with its exit code; empty for one machine.
        on_events: called with the lines of events.jsonl, those of earlier attempts first: one of
            them may have been killed before it told them.
        start_seconds: longest wait for the first sign of life (imports, the processes' meeting).

    Raises:
        ConfigError: the run cannot be done as configured; do not retry.
        TrainerPreempted: a checkpoint was written on request; retry.
        TrainerDiverged: the loss stayed non-finite; do not retry.
        TrainerHung: no sign of life for max(60 s, 10 median steps), for an hour before the first
            step was done.
        TrainerFailed: any other end but success, a dead rank among them.
        Whatever interrupts this call is raised again, after every process has ended.
    """
    config = read_config(config_path)
    attempt = uuid.uuid4().hex
    config.work.mkdir(parents=True, exist_ok=True)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    follower = Follower(config.work)
    heartbeat = heartbeat_path(config.work, attempt)
    with log_path.open("ab") as log:
        log_start = log.tell()
        child = subprocess.Popen(
            [*agents, *trainer_command(config, config_path, run_id=attempt)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=CHECKOUT,
            env=child_environment(config, attempt, environment or {}),
            start_new_session=True,
            preexec_fn=_death_signal(),
        )
    processes = Processes(child, config.work / "ranks", attempt)
    grace = config.grace_seconds
    try:
        watch = _Watch(heartbeat, clock, start_seconds)
        while child.poll() is None:
            processes.look()
            news = follower.look()
            _deliver(news, on_metrics, on_events)
            _show(news, config, on_progress)
            if (rank := processes.dead_rank(clock())) is not None:
                grace = min(grace, 5.0)  # the others wait for it in a collective: no save will come
                raise TrainerFailed(f"rank {rank} died{_log_tail(log_path, log_start)}")
            if watch.hung(follower.step_seconds):
                grace = min(grace, 5.0)
                raise TrainerHung(
                    f"no sign of life for {watch.silent():.0f} s: the run hangs"
                    f"{_log_tail(log_path, log_start)}"
                )
            time.sleep(poll_seconds)
    except BaseException:
        processes.end(grace, clock)
        _deliver(follower.look(ended=True), on_metrics, on_events)
        raise
    # torchrun is gone; a rank that is not (it was slow to end) is given its grace too.
    processes.end(min(grace, 30.0), clock)
    news = follower.look(ended=True)
    _deliver(news, on_metrics, on_events)
    _show(news, config, on_progress)
    heartbeat.unlink(missing_ok=True)
    _raise_for(child.returncode, config.work / "exit.json", attempt, log_path, log_start)


def child_environment(
    config: EngineConfig, attempt: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """Environment of the trainer: threads, loopback only, and whom it belongs to."""
    # Accelerate lets its variables override arguments: an inherited accumulation number would
    # silently scale every gradient.
    ranks = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "GROUP_", "ROLE_")
    dropped = (*ranks, "ACCELERATE_", "TORCHELASTIC_", "FSDP_")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    chosen = {
        "OMP_NUM_THREADS": str(config.threads),
        "MKL_NUM_THREADS": str(config.threads),
        # Waiting threads sleep. Spinning ones, the default, made training 3 to 4 times slower
        # (measured, nano on 2 cores) as soon as other services wanted the same cores.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(int(config.grace_seconds) + 1),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(
            [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        LAUNCHER_PID: str(os.getpid()),
        LAUNCHER_HOST: platform.node(),
        ATTEMPT: attempt,
    }
    if config.device == "cpu":
        chosen["ACCELERATE_USE_CPU"] = "true"
    if config.device == "cpu" and config.nodes == 1:
        chosen["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform.startswith("linux") else "lo0"
    return {**inherited, **chosen, **extra}


class _Watch:
    """Decides from the heartbeat file's changes whether the run hangs."""

    def __init__(self, heartbeat: Path, clock: Callable[[], float], start_seconds: float) -> None:
        self._path, self._clock, self._start_seconds = heartbeat, clock, start_seconds
        self._seen = self._stamp()
        self._since = clock()
        self._beaten = False

    def _stamp(self) -> int:
        return self._path.stat().st_mtime_ns if self._path.exists() else 0

    def silent(self) -> float:
        """Seconds since the heartbeat last changed."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen, self._since, self._beaten = stamp, self._clock(), True
        return self._clock() - self._since

    def hung(self, step_seconds: deque[float]) -> bool:
        """True after max(60 s, 10 median steps) without a beat; the start has its own limits.

        The trainer beats after every micro-batch. Before its first step is done, and while it
        loads a checkpoint, it is not known how long a silence is usual: an hour is allowed.
        """
        silent = self.silent()
        if not self._beaten:
            return silent > self._start_seconds
        if not step_seconds or self._path.read_text(encoding="utf-8") != TRAINING:
            return silent > max(self._start_seconds, FIRST_STEP_SECONDS)
        median = statistics.median(step_seconds)
        return silent > max(HANG_FLOOR_SECONDS, HANG_STEPS * median)


def _deliver(news: News, on_metrics: MetricsSink, on_events: EventsSink) -> None:
    on_events(news.events)  # none too: a sink that could not deliver tries again
    for line in news.points:
        numbers = {k: float(v) for k, v in line.items() if isinstance(v, int | float)}
        on_metrics(numbers, int(numbers.pop("step")))


def _show(news: News, config: EngineConfig, on_progress: ProgressSink) -> None:
    if (line := news.latest) is not None:
        speed = line.get("tokens_per_s", 0.0)
        text = f"step {line['step']}/{config.steps}, loss {line['loss']:.3f}, {speed:,.0f} tokens/s"
        on_progress(line["step"] / config.steps, text)


def _raise_for(
    returncode: int, exit_file: Path, attempt: str, log_path: Path, log_start: int
) -> None:
    code, message = returncode, None
    if exit_file.exists():
        told = json.loads(exit_file.read_text(encoding="utf-8"))
        if told["attempt"] == attempt:
            code, message = told["code"], told["message"]
    if code == 0 and returncode == 0:
        return
    if code == EXIT_PREEMPTED:
        raise TrainerPreempted(message or "the trainer was preempted")
    if code == EXIT_CONFIG:
        raise ConfigError(message or _log_tail(log_path, log_start).strip())
    if code == EXIT_DIVERGED:
        raise TrainerDiverged(f"{message}{_log_tail(log_path, log_start)}")
    raise TrainerFailed(
        f"the trainer ended with exit code {returncode}{_log_tail(log_path, log_start)}"
    )


def _log_tail(path: Path, start: int, lines: int = 30) -> str:
    with path.open("rb") as handle:
        handle.seek(max(start, path.stat().st_size - 20_000))
        text = handle.read().decode("utf-8", "replace")
    return f"; its log ({path}) ends with:\n" + "\n".join(text.splitlines()[-lines:])


def _death_signal() -> Callable[[], None] | None:
    """What the child runs between fork and exec; libc is loaded here, before the fork."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
