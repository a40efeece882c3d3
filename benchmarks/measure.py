"""What every benchmark shares: the machine, interleaved rounds, the table."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Rounds:
    """One variant, one entry a round: wall and processor seconds, load average (1 minute).

    Processor seconds are those of all threads of the process: on a shared machine they say what a
    variant costs where wall seconds say how often it was put aside. They leave out child processes.
    """

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    output: Any = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def processor_median(self) -> float:
        return statistics.median(self.processor)

    def against(self, peer: Rounds) -> list[str]:
        """How many times as fast as ``peer``: by wall time, by processor time."""
        wall = peer.median / self.median
        return [f"{wall:.2f}", f"{peer.processor_median / self.processor_median:.2f}"]

    @property
    def spread(self) -> str:
        """Fastest and slowest round over the median: how much the machine was disturbed."""
        low, high = min(self.seconds), max(self.seconds)
        return f"{low / self.median:.2f}-{high / self.median:.2f}"


def interleave(
    variants: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    budget_seconds: float,
    seconds_of: Callable[[Any], tuple[float, float]] | None = None,
) -> dict[str, Rounds]:
    """Run A B C A B C ...: a disturbance of the machine meets every variant alike.

    Ends after ``rounds`` rounds, or after a whole round once ``budget_seconds`` are over. The first
    call of each variant is a warm-up and is not counted. The output of the last call is kept.

    seconds_of: reads (wall, processor) seconds out of a variant's output, measured in another
        process; without it the call itself is timed.
    """
    found = {name: Rounds() for name in variants}
    for call in variants.values():
        call()
    started = time.perf_counter()
    for _ in range(rounds):
        for name, call in variants.items():
            begun, begun_processor = time.perf_counter(), time.process_time()
            output = call()
            spent = time.perf_counter() - begun, time.process_time() - begun_processor
            wall, processor_seconds = seconds_of(output) if seconds_of else spent
            found[name].seconds.append(wall)
            found[name].processor.append(processor_seconds)
            found[name].load.append(os.getloadavg()[0])
            found[name].output = output
        if time.perf_counter() - started > budget_seconds:
            break
    return found


def processor() -> str:
    """Model name of the processor as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions(*distributions: str) -> str:
    """``name version`` of installed distributions, comma-separated."""
    return ", ".join(f"{name} {version(name)}" for name in distributions)


def show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    threads: int,
    libraries: str,
    load: Sequence[float],
    notes: Sequence[str],
) -> None:
    """Print the table: who, what, which versions, on which machine, beside what load."""
    import psutil
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console = Console(width=max(150, int(os.environ.get("COLUMNS", "0"))), highlight=False)
    console.print(table, soft_wrap=False)
    memory = psutil.virtual_memory().total / 2**30
    console.print(
        f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python"
        f" {platform.python_version()}; {threads} threads; {libraries}"
    )
    low, high = min(load), max(load)
    console.print(f"load average (1 min) during the rounds: {low:.1f} to {high:.1f}")
    if high > (os.cpu_count() or 1):
        console.print(
            "The machine was shared: read the ratios within this table, not the absolute figures."
        )
    for note in notes:
        console.print(f"- {note}", soft_wrap=True)


def data_folder(given: Path | None) -> Path:
    """The real dumps: the argument, else ARRIERO_DATA."""
    folder = given or (Path(os.environ["ARRIERO_DATA"]) if "ARRIERO_DATA" in os.environ else None)
    if folder is None or not folder.is_dir():
        raise SystemExit("real dumps are needed: set ARRIERO_DATA or give --data <folder>")
    return folder
