"""The steps over the files of all sources that make a corpus of them: sign, then write.

Plain functions, called as jobs; see :mod:`tasks.corpus.steps`. What is decided in between
(:mod:`tasks.corpus.assemble`) comes to `write_file` as one code a document.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from tasks.corpus import decontaminate
from tasks.corpus.clusters import sign_file
from tasks.corpus.dedup import text_digest
from tasks.corpus.documents import REJECTED_SCHEMA, ParquetFile, read_documents
from tasks.corpus.funnel import Funnel
from tasks.corpus.guard import Guard
from tasks.corpus.split import split_key
from tasks.corpus.steps import once, write_rejected


class Fate(IntEnum):
    """What becomes of a document. The order is that of the filters: the first that applies."""

    TRAIN = 0
    SAME_TEXT = 1
    NEAR_DUPLICATE = 2
    VALIDATION = 3
    CONTAMINATED = 4


FILTERS = {
    Fate.SAME_TEXT: ("cross-source duplicate", "same text in an earlier source"),
    Fate.NEAR_DUPLICATE: ("near duplicate", "nearly the text of an earlier document"),
    Fate.VALIDATION: ("validation split", "validation"),
    Fate.CONTAMINATED: (decontaminate.FILTER, decontaminate.REASON),
}


def sign_documents(guard: Guard, *, path: str, seed: int, folder: str) -> dict[str, Any]:
    """Digests, split keys and MinHash signatures of a file's documents, in order."""

    def make(out: Path) -> dict[str, Any]:
        keys = array("Q")

        def texts() -> Iterator[str]:
            with (out / "digests").open("wb") as digests:
                for row in read_documents(Path(path), ["text"]):
                    digest = text_digest(row["text"])
                    digests.write(digest)
                    keys.append(split_key(digest, seed))
                    yield row["text"]

        documents = sign_file(texts(), seed, out / "signatures")
        np.save(out / "keys.npy", np.array(keys, dtype=np.uint64))
        return {"documents": documents}

    return once(Path(folder), make)


def write_file(
    guard: Guard,
    *,
    path: str,
    source: str,
    fates: str,
    filters: list[str],
    keep_rejected: bool,
    folder: str,
) -> dict[str, Any]:
    """Write one file's documents to ``train``, ``validation`` and ``rejected.parquet``.

    Args:
        fates: .npy file with a :class:`Fate` for each document. filters: names in force, in order.
        keep_rejected: keep the whole text of what is rejected, not only the first few excerpts.
    Returns:
        ``train``, ``validation`` (documents), ``funnel`` (rows), ``licenses``.
    """

    def make(out: Path) -> dict[str, Any]:
        funnel = Funnel(source, keep_rejected=keep_rejected)
        funnel.declare(*filters)
        licenses: Counter[str] = Counter()
        fate_N = np.load(fates)
        with (
            ParquetFile(out / "train.parquet") as train,
            ParquetFile(out / "validation.parquet") as validation,
            ParquetFile(out / "rejected.parquet", REJECTED_SCHEMA) as rejected,
        ):
            for row, fate in zip(read_documents(Path(path)), fate_N.tolist(), strict=True):
                text = row["text"]
                meta = json.loads(row["meta"])
                funnel.place = (str(meta.get("file", "")), int(meta.get("offset", 0)))
                stopped = None
                for name in filters:
                    if fate and FILTERS[Fate(fate)][0] == name:
                        stopped = FILTERS[Fate(fate)][1]
                        funnel.reject(name, stopped, text, row["id"])
                        break
                    funnel.keep(name, text)
                if fate in (Fate.TRAIN, Fate.VALIDATION):
                    licenses[row["license"] or "unknown"] += 1
                    (train if fate == Fate.TRAIN else validation).write(row)
                if fate == Fate.VALIDATION:
                    funnel.take_rejected()  # it is in the corpus: no reject to be read
                write_rejected(rejected, funnel)
        return {
            "train": train.documents,
            "validation": validation.documents,
            "rejected": rejected.documents,
            "funnel": [row for row in funnel.rows() if row["filter"] != "read"],
            "licenses": dict(sorted(licenses.items())),
        }

    return once(Path(folder), make)
