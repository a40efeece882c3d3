"""datatrove's pipeline from extracted text to documents; runs in the peers' environment.

Arguments: the fastText model for the language filter. Requests, one JSON object a line:

- ``{"input": file, "folder": folder}``: the whole pipeline over a JSON-lines file (``id``,
  ``text``) with one worker, written below the (new) folder. Answers seconds, processor seconds of
  this process by step, and what was kept.
- ``{"decide": file}``: what each filter alone says to every document: the reason, "" when it stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    C4QualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from datatrove.utils.lid import FT176LID
from datatrove.utils.text import split_into_words
from fasttext.FastText import _FastText

LANGUAGE_THRESHOLD = 0.65
_loaded: list[Any] = []


class LocalModel(FT176LID):
    """datatrove's language model, from a file; loaded once however often a step is copied."""

    @property
    def model(self) -> Any:
        return _loaded[0]


class LanguageOffline(LanguageFilter):
    """datatrove's language filter with the model given; nothing else is changed."""

    def __init__(self) -> None:
        super().__init__(languages="en", language_threshold=LANGUAGE_THRESHOLD)
        self.model = LocalModel(["en"])


def main() -> None:
    answers = sys.stdout
    # Progress and logs must not stand between the answers.
    sys.stdout = sys.stderr
    from loguru import logger

    logger.remove()
    _loaded.append(_FastText(sys.argv[1]))
    split_into_words("Load the words of English now.")
    for line in sys.stdin:
        request = json.loads(line)
        answer = decide(request["decide"]) if "decide" in request else run(request)
        print(json.dumps(answer), file=answers, flush=True)


def run(request: dict[str, str]) -> dict[str, Any]:
    """The pipeline as datatrove's examples build it: filters, then MinHash in four stages."""
    source, folder = Path(request["input"]), Path(request["folder"])
    config = MinhashConfig()
    filtered, signatures = str(folder / "filtered"), str(folder / "signatures")
    buckets, removed = str(folder / "buckets"), str(folder / "removed")
    steps = {
        "filters": [
            JsonlReader(str(source.parent), glob_pattern=source.name, compression=None),
            LanguageOffline(),
            GopherRepetitionFilter(),
            GopherQualityFilter(),
            C4QualityFilter(),
            JsonlWriter(filtered, compression=None),
        ],
        "minhash signatures": [
            JsonlReader(filtered, compression=None),
            MinhashDedupSignature(signatures, config=config),
        ],
        "minhash buckets": [MinhashDedupBuckets(signatures, buckets, config=config)],
        "minhash clusters": [MinhashDedupCluster(buckets, removed, config=config)],
        "minhash filter, Parquet": [
            JsonlReader(filtered, compression=None),
            MinhashDedupFilter(removed),
            ParquetWriter(str(folder / "documents"), compression="zstd"),
        ],
    }
    seconds, processor = 0.0, {}
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    for name, pipeline in steps.items():
        executor = LocalPipelineExecutor(
            pipeline,
            tasks=config.num_buckets if name == "minhash buckets" else 1,
            workers=1,
            logging_dir=str(folder / "logs" / name),
        )
        started, started_processor = time.perf_counter(), time.process_time()
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            executor.run()
        seconds += time.perf_counter() - started
        processor[name] = time.process_time() - started_processor
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "processor": sum(processor.values()),
        # Of the processes that hold the executors' queues: they do none of the work.
        "children": after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime,
        "steps": processor,
        "filtered": [row["id"] for row in _lines(Path(filtered))],
        "kept": pq.read_table(folder / "documents", columns=["id"])["id"].to_pylist(),
    }


def decide(path: str) -> dict[str, Any]:
    """{document: {filter: reason}}, each filter given the document as it was read."""
    filters = {
        "language": LanguageOffline(),
        "gopher repetition": GopherRepetitionFilter(),
        "gopher quality": GopherQualityFilter(),
        "c4": C4QualityFilter(),
    }
    found: dict[str, dict[str, str]] = {}
    with Path(path).open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            found[row["id"]] = {}
            for name, step in filters.items():
                verdict = step.filter(Document(text=row["text"], id=row["id"]))
                kept, reason = verdict if isinstance(verdict, tuple) else (verdict, "language")
                found[row["id"]][name] = "" if kept else reason
    return found


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


if __name__ == "__main__":
    main()
