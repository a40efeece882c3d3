"""The sample that stands in for DATA: corpus, benchmarks and instructions, made offline.

The folder has the layout of real data (``corpus/<source>``, ``bench/<benchmark>``,
``instruct/<dataset>``) and a ``SAMPLE.json`` at its root, by which every later stage knows that
results come from a sample.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from tasks.context import atomic_write_json
from tasks.sample.archives import SourceReport, gzip_bytes, write_bytes, write_text
from tasks.sample.corpus_arxiv import make_arxiv
from tasks.sample.corpus_books import make_books
from tasks.sample.corpus_c4 import make_c4
from tasks.sample.corpus_commoncrawl import make_commoncrawl
from tasks.sample.corpus_github import make_github
from tasks.sample.corpus_stackexchange import make_stackexchange
from tasks.sample.corpus_wikipedia import make_wikipedia
from tasks.sample.environment import Environment

MARKER = "SAMPLE.json"
FORMAT = 1  # goes up when other code gives other files from the same environment and package
PACKAGED = ("bench", "instructions.json", "wikipedia_es.json")
MAKERS: dict[str, tuple[float, Callable[..., SourceReport]]] = {
    # source: share of the text, maker. Flatter than Table 1, so that small sources stay usable.
    "commoncrawl": (0.30, make_commoncrawl),
    "c4": (0.165, make_c4),
    "github": (0.165, make_github),
    "wikipedia": (0.10, make_wikipedia),
    "books": (0.10, make_books),
    "arxiv": (0.09, make_arxiv),
    "stackexchange": (0.08, make_stackexchange),
}


@dataclass(frozen=True)
class SampleSummary:
    """What `make_sample` wrote; the contents of ``SAMPLE.json``."""

    sample: bool
    format: int
    seed: int
    target_megabytes: float
    sources: dict[str, dict[str, int]]  # source: documents, characters
    bench: dict[str, int]  # file: lines
    instructions: int
    made_from: dict[str, str]  # distribution: version
    packaged: str  # sha256 over the items and texts that this package brings
    files: dict[str, int]  # file, without this one: bytes


def is_sample(data: Path) -> bool:
    """Whether a data folder is a generated sample."""
    return (data / MARKER).is_file()


def make_sample(out: Path, *, seed: int = 0, target_megabytes: float = 12) -> SampleSummary:
    """Write the sample to `out` (seconds of work, no network) and say what is in it.

    The same environment, seed and size give the same bytes. A folder that already holds this very
    sample is left alone; a sample of another kind, or with files lost or cut, is replaced; and the
    folder appears complete or not at all.

    Raises:
        ValueError: `out` holds something that is no sample, `target_megabytes` is not within
            1 to 100, or the environment has too few packages to make a source from.
    """
    if not 1 <= target_megabytes <= 100:
        raise ValueError(f"target_megabytes is {target_megabytes}: choose a size from 1 to 100 MB")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not is_sample(out):
        raise ValueError(
            f"{out} exists and is no generated sample (it has no {MARKER}): choose an empty folder"
        )
    environment = Environment(seed)
    existing = _matching(out, environment, seed, target_megabytes)
    if existing is not None:
        return existing
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.parent / f"tmp-{out.name}-{uuid.uuid4().hex}"
    try:
        summary = _write(staging, environment, seed, target_megabytes)
        if out.exists():
            discarded = out.parent / f"tmp-{out.name}-{uuid.uuid4().hex}"
            out.rename(discarded)
            shutil.rmtree(discarded)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return summary


def _write(
    staging: Path, environment: Environment, seed: int, target_megabytes: float
) -> SampleSummary:
    sources = {}
    for source, (share, maker) in MAKERS.items():
        wanted = int(target_megabytes * 1e6 * share)
        report = maker(staging / "corpus" / source, environment, characters=wanted)
        if report.characters < wanted / 4:
            raise ValueError(
                f"the installed packages give only {report.characters} of {wanted} characters for "
                f"the sample of {source}: install the locked environment (make setup) or give DATA"
            )
        sources[source] = asdict(report)
    bench = _write_bench(staging / "bench")
    instructions = _package_file("instructions.json").read_text(encoding="utf-8")
    write_text(staging / "instruct" / "sample" / "instructions.json", instructions)
    summary = SampleSummary(
        sample=True,
        format=FORMAT,
        seed=seed,
        target_megabytes=target_megabytes,
        sources=sources,
        bench=bench,
        instructions=len(json.loads(instructions)),
        made_from=dict(sorted(environment.used.items())),
        packaged=_packaged_sha256(),
        files={
            path.relative_to(staging).as_posix(): path.stat().st_size
            for path in sorted(staging.rglob("*"))
            if path.is_file()
        },
    )
    atomic_write_json(staging / MARKER, asdict(summary))
    return summary


def _write_bench(folder: Path) -> dict[str, int]:
    """Copy the items to the names that the public benchmarks use; {file: items}."""
    counts = {}
    for benchmark in sorted(_package_file("bench").iterdir(), key=lambda entry: entry.name):
        if not benchmark.is_dir():
            continue
        for file in sorted(benchmark.iterdir(), key=lambda entry: entry.name):
            payload = file.read_bytes()
            name = f"{benchmark.name}/{file.name}"
            if name == "humaneval/HumanEval.jsonl":
                name, payload = f"{name}.gz", gzip_bytes(payload)
            elif name == "piqa/valid-labels.jsonl":
                name = "piqa/valid-labels.lst"
            write_bytes(folder / name, payload)
            counts[name] = file.read_text(encoding="utf-8").count("\n")
            if name == "openbookqa/validation.jsonl":
                # The test split is published as a table; the sample gives it the same items.
                write_bytes(folder / "openbookqa/test.tsv", _openbookqa_table(payload))
                counts["openbookqa/test.tsv"] = counts[name]
    return counts


def _openbookqa_table(items: bytes) -> bytes:
    """JSON lines of OpenBookQA as the tab-separated table of its official release."""
    rows = ["ID\tQuestion Stem\tChoices\tComplete Question\tAnswer Key"]
    for line in items.decode("utf-8").splitlines():
        item = json.loads(line)
        stem, choices = item["question_stem"], item["choices"]
        labelled = zip(choices["label"], choices["text"], strict=True)
        options = " ".join(f"({label}) {text}" for label, text in labelled)
        cells = [item["id"], stem, options, f"{stem} {options}", item["answerKey"]]
        rows.append("\t".join(cells))
    return ("\n".join(rows) + "\n").encode("utf-8")


def _matching(
    out: Path, environment: Environment, seed: int, target_megabytes: float
) -> SampleSummary | None:
    """The summary of the sample in `out`, when it was made with these arguments, versions and
    packaged files, and all of it is still there."""
    if not is_sample(out):
        return None
    recorded: dict[str, Any] = json.loads((out / MARKER).read_text(encoding="utf-8"))
    same = (
        recorded.get("format") == FORMAT
        and recorded.get("seed") == seed
        and recorded.get("target_megabytes") == target_megabytes
        and recorded.get("packaged") == _packaged_sha256()
        and all(
            (out / name).is_file() and (out / name).stat().st_size == size
            for name, size in recorded.get("files", {}).items()
        )
        and all(
            environment.installed_version(package) == version
            for package, version in recorded.get("made_from", {}).items()
        )
    )
    return SampleSummary(**recorded) if same else None


def _packaged_sha256() -> str:
    total = hashlib.sha256()
    for name in PACKAGED:
        for path, data in _packaged_files(_package_file(name), name):
            total.update(f"{path}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return total.hexdigest()


def _packaged_files(entry: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """``(name, bytes)`` of a packaged file, or of every one in a folder."""
    if not entry.is_dir():
        yield name, entry.read_bytes()
        return
    for inner in sorted(entry.iterdir(), key=lambda found: found.name):
        yield from _packaged_files(inner, f"{name}/{inner.name}")


def _package_file(name: str) -> Traversable:
    return resources.files("tasks.sample") / name
