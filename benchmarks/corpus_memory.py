"""Peak memory of reading a source and of making a corpus, when the input grows eightfold.

``python -m benchmarks.corpus_memory``: C4 records made from the real ones, each with a mark of its
own so that nothing is a duplicate; processes are counted with their children.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.measure import data_folder, processor

FACTORS = (1, 2, 4, 8)
BASE_MB = 24


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
    options = parser.parse_args()
    if options.build is not None:
        build(options.build, options.workers)
        return
    files = (data_folder(options.data) / "corpus" / "c4").glob("*.json")
    real = max(files, key=lambda path: path.stat().st_size)
    rows = []
    for factor in FACTORS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_dumps(folder, real, BASE_MB * factor)
            command = [sys.executable, "-m", "benchmarks.corpus_memory"]
            peak, seconds = peak_of(
                [*command, "--build", str(folder), "--workers", str(options.workers)]
            )
        rows.append({"megabytes": BASE_MB * factor, "peak_mb": round(peak), "seconds": seconds})
        print(f"{BASE_MB * factor:5d} MB: peak {peak:7.0f} MB, {seconds:6.1f} s", flush=True)
    growth = rows[-1]["peak_mb"] / rows[0]["peak_mb"] - 1
    print(f"{processor()}; growth of the peak from 1x to 8x: {100 * growth:.1f} %")
    print(json.dumps({"rows": rows, "growth": growth}))


if __name__ == "__main__":
    main()
