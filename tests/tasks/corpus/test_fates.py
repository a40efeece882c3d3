"""Fates of all documents: what memory would give, by files; memory and scratch files."""

from __future__ import annotations

import errno
import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.corpus import decontaminate, fates, partitions, split
from tasks.corpus.assemble import build_corpus
from tasks.corpus.benchmark_index import BenchmarkIndex
from tasks.corpus.clusters import BANDS, SIGNED, cluster
from tasks.corpus.decontaminate import HITS, HITS_SCHEMA, index_benchmarks
from tasks.corpus.documents import ParquetFile, read_documents
from tasks.corpus.execute import InlineExecutor
from tasks.corpus.fates import Part, decide
from tasks.corpus.guard import Guard
from tasks.corpus.parameters import CorpusParameters
from tests.tasks.corpus import split_reference
from tests.tasks.corpus.test_build import context
from tests.tasks.corpus.test_clusters import artifact
from tests.tasks.corpus.test_decontaminate import QUESTION, WORDS, bench

QUESTIONS = [QUESTION, " ".join(WORDS[::-1]), " ".join([*WORDS[5:], "a", "b", *WORDS[:4]]), "short"]


def write_part(work: Path, part: Part, draw: np.random.Generator, pool: int) -> None:
    """What `sign_documents` would write, of texts and bands that other documents have too."""
    folder = work / "sign" / part.name
    folder.mkdir(parents=True)
    text_R = draw.integers(0, pool, part.rows)
    digests = np.random.default_rng(1).integers(0, 2**64, (pool, 2), dtype=np.uint64)
    digests[1::5, 0] = digests[0::5, 0][: len(digests[1::5])]  # equal in their first half
    digests.astype(">u8")[text_R].tofile(folder / "digests")
    keys = np.random.default_rng(2).integers(0, 2**64, pool, dtype=np.uint64)
    np.save(folder / "keys.npy", keys[text_R])
    rows = np.zeros(part.rows, dtype=SIGNED)
    rows["band"] = draw.integers(0, 2**64, (part.rows, BANDS), dtype=np.uint64)
    rows["band"][:, 0] = np.random.default_rng(3).integers(0, 2**64, pool, dtype=np.uint64)[
        text_R // 3
    ]
    rows["full"] = 255
    rows["low"] = draw.integers(0, 256, rows["low"].shape)
    alike = draw.random(part.rows) < 0.5
    rows["low"][alike] = (text_R[alike] // 3 % 256)[:, None]
    rows.tofile(folder / "signatures")


def write_hits(work: Path, part: Part, draw: np.random.Generator, grams: int) -> None:
    folder = work / "flag" / part.name
    folder.mkdir(parents=True)
    with ParquetFile(folder / HITS, HITS_SCHEMA) as file:
        for row in np.flatnonzero(draw.random(part.rows) < 0.3).tolist():
            for gram in np.flatnonzero(draw.random(grams) < draw.random()).tolist():
                file.write({"row": row, "id": f"{part.name}:{row}", "ngram": gram})


MAPPED = {
    "first",
    "labels",
    "seen",
    "least-digests",
    "cluster-keys",
    "trained",
    "remove",
    "sizes",
    "fates",
}


def mapped_files() -> list[str]:
    """Paths of the files that this process maps, as the system names them."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split(None, 5)[5] for line in lines if len(line.split(None, 5)) == 6]


@pytest.mark.parametrize("seed", range(24))
def test_fates_are_those_that_memory_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    monkeypatch.setattr(partitions, "OPEN_FILES", int(draw.choice([3, 256])))
    monkeypatch.setattr(split, "KEY_BYTES", int(draw.choice([150, 700_000, 7_000_000])))
    monkeypatch.setattr(fates, "STEP", int(draw.choice([1, 7, 1 << 18])))
    monkeypatch.setattr(decontaminate, "HITS_BATCH", int(draw.choice([1, 3, 1 << 13])))
    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir()
    sizes = {"c4": [40, 0, 25], "wikipedia": [3], "books": [60, 1], "arxiv": [0]}
    parts = [
        Part(source, Path(f"{number:05d}.parquet"), int(rows * draw.integers(1, 4)))
        for source, own in sizes.items()
        for number, rows in enumerate(own)
    ]
    values: dict[str, Any] = {
        "decontamination_benchmarks": ["boolq"],
        "decontamination": ["flag", "remove"][seed % 2],
        "decontamination_common": [None, 1, 10][seed % 3],
        "near_duplicates": ["keep", "remove"][seed // 2 % 2],
        "validation_fraction": float(draw.choice([0.0, 0.1, 0.45, 0.9])),
        "validation_minimum": int(draw.choice([0, 1, 10])),
        "dedup_memory_mb": 64,
    }
    parameters = CorpusParameters(**values)
    dumped = parameters.model_dump(mode="json")
    index = work / "benchmarks"
    root = str(bench(tmp_path / "bench", QUESTIONS))
    index_benchmarks(Guard(), bench=root, parameters=dumped, folder=str(index))
    grams = len(BenchmarkIndex(index).starts) - 1
    for part in parts:
        write_part(work, part, draw, pool=90)
        write_hits(work, part, draw, grams)
    signatures = [work / "sign" / part.name / "signatures" for part in parts]
    similar_N, label_N = (
        np.array(cluster(signatures, tmp_path, 64, similarity))
        for similarity in (parameters.near_duplicate_similarity, None)
    )
    labels = similar_N, label_N
    expected, said, pairs = split_reference.decide(parts, parameters, work, labels, checked=True)
    found = decide(parts, parameters, work, True, out)
    for part in parts:
        fate_R = np.load(out / f"{part.name}.npy")
        assert fate_R.dtype == np.uint8 and fate_R.tolist() == expected[part.name].tolist()
    for name in ("filters", "near_duplicates", "wanted"):
        assert found[name] == said[name]
    assert json.loads((out / "contamination.json").read_text()) == said["report"]
    assert list(read_documents(out / "contamination.parquet")) == pairs


def synthetic(work: Path, files: int, rows: int) -> list[Part]:
    """Files of ``rows`` documents each, of two sources."""
    parts = [
        Part(source, Path(f"{number:05d}.parquet"), rows)
        for source in ("c4", "books")
        for number in range(files)
    ]
    for number, part in enumerate(parts):
        draw = np.random.default_rng(number)
        folder = work / "sign" / part.name
        folder.mkdir(parents=True)
        digests = draw.integers(0, 2**64, (rows, 2), dtype=np.uint64)
        digests[:2] = 7, 7
        digests.tofile(folder / "digests")
        np.save(folder / "keys.npy", draw.integers(0, 2**64, rows, dtype=np.uint64))
        (folder / "signatures").touch()
    return parts


def pairs_of(parts: list[Part], scratch: Path) -> fates.Labels:
    """Stands for the clusters, whose own memory is bounded elsewhere: every other one is two."""
    rows = sum(part.rows for part in parts)
    label_N = partitions.mapped(scratch / "labels", np.int64, rows)
    for some in partitions.ranges(rows, 1 << 12):
        row_R = np.arange(some.start, some.stop)
        label_N[some] = row_R - (row_R % 4 == 3)
    return label_N


@pytest.mark.parametrize("fraction", [0.01, 0.6])
def test_memory_does_not_grow_with_the_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fraction: float
) -> None:
    """A fraction of 0.6 is too much for half a source: keys are chosen one by one."""
    monkeypatch.setattr(fates, "STEP", 1 << 12)
    monkeypatch.setattr(partitions, "OPEN_FILES", 2)  # each has a buffer
    parameters = CorpusParameters(validation_fraction=fraction, dedup_memory_mb=64)
    monkeypatch.setattr("tasks.corpus.dedup.ROW_BYTES", 1 << 11)
    monkeypatch.setattr(split, "KEY_BYTES", 1 << 11)
    peaks = []
    for files in (2, 16):
        folder = tmp_path / str(files)
        parts = synthetic(folder / "work", files, 25_000)
        monkeypatch.setattr(
            fates, "cluster", lambda files, scratch, *rest, own=parts: pairs_of(own, scratch)
        )
        (folder / "out").mkdir()
        tracemalloc.start()
        decide(parts, parameters, folder / "work", False, folder / "out")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 700,000 documents more: no byte of memory for any of them.
    assert peaks[1] - peaks[0] < 700_000, peaks


def marked(work: Path) -> tuple[list[Part], CorpusParameters]:
    """Two small files, with all that can mark a document."""
    draw = np.random.default_rng(4)
    parts = [Part("c4", Path("00000.parquet"), 50), Part("books", Path("00000.parquet"), 30)]
    values: dict[str, Any] = {"near_duplicates": "remove", "validation_fraction": 0.9}
    parameters = CorpusParameters(decontamination_benchmarks=("boolq",), **values)
    root = str(bench(work.parent / "bench", QUESTIONS))
    index = str(work / "benchmarks")
    dumped = parameters.model_dump(mode="json")
    index_benchmarks(Guard(), bench=root, parameters=dumped, folder=index)
    for part in parts:
        write_part(work, part, draw, pool=40)
        write_hits(work, part, draw, 3)
    return parts, parameters


def test_nothing_of_the_scratch_is_mapped_when_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir()
    parts, parameters = marked(work)
    gone: list[Path] = []
    remove, unlink = shutil.rmtree, Path.unlink

    def removed(path: Path) -> None:
        assert not [name for name in mapped_files() if name.startswith(str(path))]
        gone.append(path)
        remove(path)

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        assert str(path) not in mapped_files()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(shutil, "rmtree", removed)
    monkeypatch.setattr(Path, "unlink", unlinked)
    decide(parts, parameters, work, True, out)
    assert gone == [out / "scratch"] and not gone[0].exists()


def test_rows_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever array it is: what a full server did not take would be read back as zeros."""
    work = tmp_path / "work"
    parts, parameters = marked(work)
    flush = np.memmap.flush
    written: list[str] = []
    failing = ""

    def flushed(array: Any) -> None:
        written.append(Path(array.filename).name)
        if written[-1] == failing:
            raise OSError(errno.EIO, "write-back failed")
        flush(array)

    def decided(name: str) -> None:
        (tmp_path / name).mkdir()
        decide(parts, parameters, work, True, tmp_path / name)

    monkeypatch.setattr(np.memmap, "flush", flushed)
    decided("whole")
    names = dict.fromkeys(written)
    assert set(names) == MAPPED
    for failing in names:
        with pytest.raises(OSError, match="write-back failed"):
            decided(failing)


def test_more_files_than_may_be_open(tmp_path: Path) -> None:
    """Near-duplicates are confirmed by signatures of thousands of files."""
    import resource

    row = np.zeros(1, dtype=SIGNED)
    row["band"], row["full"], row["low"] = 5, 255, 9
    files = [tmp_path / str(number) for number in range(200)]
    for path in files:
        row.tofile(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    place = tmp_path / "work"
    place.mkdir()
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        labels = cluster(files, place, similarity=0.8)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert labels.tolist() == [0] * 200


def test_texts_of_what_the_corpus_rejects_are_kept_when_wanted(tmp_path: Path) -> None:
    """Of duplicates over all sources and of documents that hold items, as of any source's."""
    long = " and so on" * 3000
    texts = [f"text {number}{long}" for number in range(8)]
    web = artifact(tmp_path / "c4", "c4", [*texts, "other", *(f"{QUESTION} {n}" for n in "ab")])
    books = artifact(tmp_path / "books", "books", [*texts, "one", "two", "three", "four"])
    root = bench(tmp_path / "bench", [QUESTION])
    lengths = {}
    for kept in (False, True):
        values: dict[str, Any] = {"decontamination_benchmarks": ["boolq"], "keep_rejected": kept}
        parameters = CorpusParameters(
            allow_missing_sources=True,
            validation_fraction=0.0,
            validation_minimum=0,
            decontamination="remove",
            **values,
        )
        place = context(tmp_path / str(kept))
        inputs = {"c4": web, "books": books}
        build_corpus(inputs, parameters, place, InlineExecutor(), root)
        rows = [
            row
            for source in inputs
            for path in sorted((place.out / "rejected" / source).glob("*.parquet"))
            for row in read_documents(path)
        ]
        assert [row["filter"] for row in rows] == ["decontamination"] * 2 + [
            "cross-source duplicate"
        ] * 8
        lengths[kept] = [None if row["text"] is None else len(row["text"]) for row in rows]
        full = [row["characters"] for row in rows]
    assert lengths[True] == full
    assert (
        lengths[False][2:] == [lengths[False][2]] * 5 + [None] * 3 and lengths[False][2] < full[2]
    )
