"""The text that the tokenizer learns from: the documents of each source with the lowest hashes.

One pass over the corpus, a job for each file, run by any executor. A job reads the ids of all
documents, and the texts of those row groups alone that hold one of the sample's. Which hashes those
are is guessed from the size of the source, with some to spare: what a job writes is a little more
than the sample. Where the guess was too low, the source is gone through again with a higher one.
The sample itself depends on nothing but ids, sizes and the quota.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.corpus.documents import ParquetFile, read_documents
from tasks.corpus.execute import Executor, Job, kept
from tasks.corpus.guard import Guard
from tasks.corpus.steps import once
from tasks.tokens.corpus import group_batches, text_bytes

HASH_BYTES = 16
TEXTS = "texts.parquet"
SCHEMA = pa.schema([("hash", pa.binary(HASH_BYTES)), ("bytes", pa.int64()), ("text", pa.string())])
SPARE = 1.25
"""How much more of a source is taken than its mean document asks for."""
SPARE_DOCUMENTS = 64
"""As many documents more: a sample of few is far from the mean."""
_NEXT_SHARE = 4
_BUFFER = 1 << 20


def document_hash(seed: int, document_id: str) -> bytes:
    """HASH_BYTES that order documents for sampling, the same in every process."""
    return hashlib.blake2b(f"{seed}:{document_id}".encode(), digest_size=HASH_BYTES).digest()


@dataclass(frozen=True)
class Drawn:
    """The sample of one source: the documents of ``files`` whose hash is at most ``highest``.

    highest: the documents with the lowest hashes whose UTF-8 bytes together first reach the quota
    end here. None: the source has less than its quota, all of it is in the sample.
    """

    files: tuple[Path, ...]
    highest: bytes | None

    def texts(self) -> Iterator[str]:
        """Texts in the order of the corpus."""
        for path in self.files:
            for row in read_documents(path, ["hash", "text"]):
                if self.highest is None or row["hash"] <= self.highest:
                    yield row["text"]


def draw_sample(
    files: Mapping[str, Sequence[Path]],
    quotas: Mapping[str, float],
    seed: int,
    folder: Path,
    executor: Executor,
    progress: Callable[[int, int], None] = lambda done, jobs: None,
) -> dict[str, Drawn]:
    """The sample of each source of ``quotas``, independent of the order of files and rows.

    Holds a hash and a size for each document of the samples, and a row group's texts.

    Args:
        quotas: UTF-8 bytes wanted of each source. folder: where the jobs write, in the work folder
            of a recipe; what an earlier attempt left there is used. progress: (jobs done, jobs of
            this pass).
    """
    shares = {source: _share(files[source], quota) for source, quota in quotas.items()}
    drawn: dict[str, Drawn] = {}
    with kept(executor) as crew:
        while shares:
            jobs = [
                _job(path, seed, share, folder / source / f"{number:06d}")
                for source, share in shares.items()
                for number, path in enumerate(files[source])
            ]
            for done, _ in enumerate(crew.run(jobs), 1):
                progress(done, len(jobs))
            for source, share in list(shares.items()):
                written = [
                    folder / source / f"{number:06d}" / TEXTS
                    for number in range(len(files[source]))
                ]
                highest = _highest(written, quotas[source], _bound(share))
                if highest is None and share < 1.0:
                    shares[source] = min(1.0, share * _NEXT_SHARE)
                    continue
                drawn[source] = Drawn(tuple(written), highest)
                del shares[source]
    return drawn


def sample_file(guard: Guard, *, file: str, seed: int, bound: str, folder: str) -> dict[str, Any]:
    """The job of one file: the documents with a hash up to ``bound`` (hex) to ``texts.parquet``."""
    path = Path(file)
    recipe = {"file": [path.name, path.stat().st_size], "seed": seed, "bound": bound}

    def make(out: Path) -> dict[str, Any]:
        with ParquetFile(out / TEXTS, SCHEMA) as written:
            for hashed, size, text in _low_hashes(path, seed, bytes.fromhex(bound)):
                written.write({"hash": hashed, "bytes": size, "text": text})
        return {"recipe": recipe, "documents": written.documents}

    def still(done: dict[str, Any]) -> bool:
        # A later pass of an earlier attempt took more: what is asked for here is among it.
        held: dict[str, Any] = done["recipe"]
        return {**held, "bound": bound} == recipe and bytes.fromhex(held["bound"]) >= bytes.fromhex(
            bound
        )

    return once(Path(folder), make, still=still)


def _low_hashes(path: Path, seed: int, bound: bytes) -> Iterator[tuple[bytes, int, str]]:
    """(hash, UTF-8 bytes, text) of the documents with a hash up to ``bound``, in order."""
    with pq.ParquetFile(path, buffer_size=_BUFFER) as file:
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["id"]).column("id").to_pylist()
            hashes = [document_hash(seed, identity) for identity in ids]
            rows = [row for row, hashed in enumerate(hashes) if hashed <= bound]
            if not rows:
                continue
            at = 0
            for batch in group_batches(file, group, ["text"]):
                here = [row - at for row in rows if at <= row < at + batch.num_rows]
                texts = batch.column("text").take(pa.array(here, pa.int64()))
                sizes = pc.binary_length(texts).to_pylist()
                for row, size, text in zip(here, sizes, texts.to_pylist(), strict=True):
                    yield hashes[at + row], size, text
                at += batch.num_rows


def _share(files: Sequence[Path], quota: float) -> float:
    """Part of a source's documents that very likely holds ``quota`` bytes; at most 1."""
    documents = size = 0
    for path in files:
        with pq.ParquetFile(path) as file:
            documents += file.metadata.num_rows
            size += sum(text_bytes(file, group) for group in range(file.num_row_groups))
    return min(1.0, SPARE * quota / max(size, 1) + SPARE_DOCUMENTS / max(documents, 1))


def _job(path: Path, seed: int, share: float, folder: Path) -> Job:
    bound = _bound(share).hex()
    arguments = {"file": str(path), "seed": seed, "bound": bound, "folder": str(folder)}
    return Job(f"{__name__}:sample_file", arguments)


def _bound(share: float) -> bytes:
    """The highest hash of a part of all documents."""
    return min(int(share * 256**HASH_BYTES), 256**HASH_BYTES - 1).to_bytes(HASH_BYTES)


def _highest(files: Sequence[Path], quota: float, bound: bytes) -> bytes | None:
    """The hash at which the lowest ones first hold ``quota`` bytes; None when past ``bound``.

    Some of ``files`` may hold more than the documents up to ``bound``, others do not.
    """
    held = pa.concat_tables(pq.read_table(path, columns=["hash", "bytes"]) for path in files)
    held = held.sort_by("hash")
    place = int(np.searchsorted(np.cumsum(held.column("bytes").to_numpy()), quota))
    if place == held.num_rows:
        return None
    highest: bytes = held.column("hash")[place].as_py()
    return highest if highest <= bound else None
