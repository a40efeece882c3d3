"""Which executor works on the parts of a corpus."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tasks.context import StageContext
from tasks.corpus.execute import Executor, InlineExecutor, LocalExecutor
from tasks.corpus.executors import choose_executor
from tasks.corpus.parameters import CorpusParameters
from tasks.tokens.parameters import Execution

# Compressed bytes of documents below which starting worker processes takes longer than encoding.
POOL_BYTES = 2_000_000
# The same for reading them, which is that much faster.
READING_POOL_BYTES = 200_000_000


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_processes(
    parameters: Execution, jobs: int, files: Sequence[Path], *, reading: bool = False
) -> int:
    """Processes on one machine for ``jobs`` on ``files``; 1: the work is done in this one."""
    least = READING_POOL_BYTES if reading else POOL_BYTES
    if sum(path.stat().st_size for path in files) <= least:
        return 1
    return min(parameters.workers or available_cores(), max(1, jobs))


def executor_of(
    parameters: Execution,
    context: StageContext,
    jobs: int,
    files: Sequence[Path],
    *,
    reading: bool = False,
) -> Executor:
    """The executor that ``parameters`` name, for ``jobs`` on ``files``.

    reading: the jobs read the files and do little else.

    Raises:
        ValueError: the executor's extra is not installed.
    """
    if parameters.executor == "processes":
        workers = worker_processes(parameters, jobs, files, reading=reading)
        return LocalExecutor(workers) if workers > 1 else InlineExecutor()
    # No job has a record in hand: the bounds on one record are never met.
    chosen = CorpusParameters(
        workers=parameters.workers,
        executor=parameters.executor,
        shard_groups=parameters.shard_groups,
        silent_minutes=parameters.silent_minutes,
        pending_hours=parameters.pending_hours,
        ray_address=parameters.ray_address,
    )
    return choose_executor(chosen, context)
