"""Real services for the tests that need them: each in a home of its own, swept at the end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("commoncrawl", "c4", "github", "wikipedia", "books", "arxiv", "stackexchange")

# The whole chain in about a minute: the smallest values at which every stage still has work.
TINY = [
    *(f"corpus.caps.{source}.max_bytes=200000" for source in SOURCES),
    "tokenizer.vocab_size=512",
    "tokenizer.sample_bytes=300000",
    "pretraining.steps=4",
    "pretraining.warmup_steps=1",
    "pretraining.context=64",
    "pretraining.global_batch=4",
    "pretraining.micro_batch=4",
    "pretraining.threads=1",
    "pretraining.validation_tokens=512",
    "instructions.context=64",
    "instructions.caps.chain_of_thought=20",
    "instructions.caps.dialogue=20",
    "instructions.caps.instructions=40",
    "finetuning.epochs=0.2",
    "finetuning.global_batch=4",
    "finetuning.micro_batch=4",
    "finetuning.threads=1",
    "finetuning.validation_tokens=512",
    "evaluation.item_limit=2",
    "evaluation.max_new_tokens=4",
    "emissions.measure_interval_s=1",
]


def environment(home: Path, **more: str) -> dict[str, str]:
    """The caller's environment without any installation's settings, with ``home`` as state."""
    dropped = ("ARRIERO_", "PREFECT_", "MLFLOW_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    return {**kept, "ARRIERO_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", **more}


def arriero(
    home: Path, *arguments: str, timeout: float = 300, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the console script to its end."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=ROOT,
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def one_object(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object that a reading command printed, and nothing beside it."""
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def living(home: Path) -> list[psutil.Process]:
    """Processes that work for ``home``, however they were started (this one left out)."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get("ARRIERO_HOME") == str(home):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def sweep(home: Path) -> list[str]:
    """Kill what still works for ``home``; says what that was."""
    left = living(home)
    names = [f"{p.pid} {' '.join(p.cmdline())[:120]}" for p in left]
    for process in left:
        if process.is_running():
            process.kill()
    psutil.wait_procs(left, timeout=10)
    return names


def listens(port: int) -> bool:
    """Whether somebody accepts connections at ``port`` of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what: str, look: Callable[[], Any], seconds: float, every: float = 0.25) -> Any:
    """The first true value of ``look``; fails naming ``what`` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def stack_of(home: Path) -> dict[str, Any]:
    """The record of the running services."""
    value: dict[str, Any] = json.loads((home / "stack.json").read_text(encoding="utf-8"))
    return value
