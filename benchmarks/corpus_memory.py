"""Peak memory of reading a source and of making a corpus, when the input grows eightfold.

``python -m benchmarks.corpus_memory --json``: C4 records made from the real ones, each with a mark
of its own so that nothing is a duplicate; processes are counted with their children. The smallest
input shows what is fixed (interpreters, libraries, models); growth is told with and without that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import ROOT, data_folder, processor
from tasks.context import atomic_write_json

# MB of input: what is fixed, then the two that are compared.
SIZES_MB = (4, 128, 1024)
RESULT = ROOT / "benchmarks" / "results" / "corpus_memory.json"


def write_dumps(folder: Path, real: Path, megabytes: int) -> None:
    """JSON lines of ``megabytes``, 4 MB a file."""
    rows = [json.loads(line) for line in real.read_text("utf-8").splitlines()]
    place = folder / "corpus" / "c4"
    place.mkdir(parents=True)
    number = 0
    for file in range(megabytes // 4):
        size = 0
        with (place / f"{file:05d}.jsonl").open("w", encoding="utf-8") as handle:
            while size < 4_000_000:
                row = rows[number % len(rows)]
                # Every word gets a number: no near-duplicates among the copies.
                words = row["text"].split(" ")
                text = " ".join(f"{word}{number // len(rows)}" for word in words)
                line = json.dumps({"text": text, "url": f"{row['url']}#{number}"}) + "\n"
                size += handle.write(line)
                number += 1


def peak_of(command: list[str]) -> tuple[float, float]:
    """Largest sum of the private memory of a process and its children (MB), and its seconds."""
    process = subprocess.Popen(command)
    peak, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        while not ended.is_set():
            total = 0
            for one in [root, *_children(root)]:
                total += _private(one)
            peak = max(peak, total / 1e6)
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    started = time.perf_counter()
    thread.start()
    status = process.wait()
    ended.set()
    thread.join()
    if status:
        raise SystemExit(f"the build ended with status {status}")
    return peak, time.perf_counter() - started


def _children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.Error:  # it has just ended
        return []


def _private(process: psutil.Process) -> int:
    try:
        found: int = process.memory_full_info().uss
        return found
    except psutil.Error:
        return 0


def build(folder: Path, workers: int) -> None:
    """Read the dumps and make a corpus of them; runs in a process of its own."""
    from tasks.context import StageContext
    from tasks.corpus.assemble import build_corpus
    from tasks.corpus.build import build_source
    from tasks.corpus.locate import locate_sources
    from tasks.corpus.parameters import CorpusParameters

    parameters = CorpusParameters(
        workers=workers, allow_missing_sources=True, shard_megabytes=4, dedup_memory_mb=64
    )
    sizes = {name: (folder / name).stat().st_size for name in locate_sources(folder)["c4"]}

    def context(name: str) -> StageContext:
        for part in ("out", "work"):
            (folder / name / part).mkdir(parents=True)
        return StageContext(out=folder / name / "out", work=folder / name / "work")

    read = context("read")
    build_source("c4", folder, sizes, parameters, read)
    build_corpus({"c4": read.out}, parameters, context("made"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--build", type=Path, default=None, help="internal: build in this folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES_MB, help="MB of input")
    parser.add_argument("--json", action="store_true", help=f"write {RESULT.name} as well")
    options = parser.parse_args()
    if options.build is not None:
        build(options.build, options.workers)
        return
    files = (data_folder(options.data) / "corpus" / "c4").glob("*.json")
    real = max(files, key=lambda path: path.stat().st_size)
    rows = []
    for megabytes in options.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_dumps(folder, real, megabytes)
            command = [sys.executable, "-m", "benchmarks.corpus_memory"]
            peak, seconds = peak_of(
                [*command, "--build", str(folder), "--workers", str(options.workers)]
            )
        rows.append({"megabytes": megabytes, "peak_mb": round(peak), "seconds": round(seconds, 1)})
        print(f"{megabytes:5d} MB: peak {peak:7.0f} MB, {seconds:6.1f} s", flush=True)
    found = growths(rows)
    print(f"{processor()}; {json.dumps(found)}")
    if options.json:
        command_line = "python -m benchmarks.corpus_memory " + " ".join(sys.argv[1:])
        atomic_write_json(
            RESULT,
            {
                "command": command_line.strip(),
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{processor()}, {os.cpu_count()} cores, Python"
                f" {platform.python_version()}",
                "workers": options.workers,
                "rows": rows,
                **found,
            },
        )


def growths(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How the peak grows from the last but one size to the last.

    growth: as a share of the peak. mb_per_gb: MB more for each GB of input more, which no fixed
    cost can hide.
    """
    before, after = rows[-2:]
    more = after["peak_mb"] - before["peak_mb"]
    gigabytes = (after["megabytes"] - before["megabytes"]) / 1000
    return {
        "growth": round(more / before["peak_mb"], 4),
        "mb_per_gb": round(more / gigabytes, 1),
        "input_growth": round(after["megabytes"] / before["megabytes"], 2),
    }


if __name__ == "__main__":
    main()
