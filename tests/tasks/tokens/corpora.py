"""Small corpus artifacts of made-up text, and folders for the stages that read them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.context import StageContext
from tasks.tokens.parameters import TokenizerParameters

SPECIAL = (
    "Control </s> text <s> and <unk>, digits 2026, tabs\tand\n\nlines, \u00e9\u4e2d\U0001f9c9."
)
SMALL = TokenizerParameters(vocab_size=400, sample_bytes=60_000)
Row = dict[str, str]


def words(source: str, count: int) -> list[Row]:
    """Documents of made-up sentences, the same in every process."""
    made = random.Random(source)
    syllables = [a + b for a in "bdfklmnprst" for b in ("a", "e", "i", "o", "u", "an", "er")]
    lexicon = ["".join(made.choices(syllables, k=made.randint(1, 4))) for _ in range(400)]
    return [
        {
            "id": f"{source}:{n}",
            "text": " ".join(made.choices(lexicon, k=made.randint(20, 120))) + f". {n}\n",
            "language": ("en", "es")[n % 3 == 0],
            "source": source,
        }
        for n in range(count)
    ]


def write_rows(folder: Path, rows: Sequence[Row], files: int = 1, row_group: int = 25) -> None:
    """A source of a corpus artifact: ``folder/00000.parquet`` and so on."""
    folder.mkdir(parents=True)
    bounds = [len(rows) * k // files for k in range(files + 1)]
    for number in range(files):
        table = pa.Table.from_pylist(list(rows[bounds[number] : bounds[number + 1]]))
        pq.write_table(table, folder / f"{number:05d}.parquet", row_group_size=row_group)


def read_rows(folder: Path) -> list[Row]:
    """Rows of a source, in order."""
    return [row for path in sorted(folder.glob("*")) for row in pq.read_table(path).to_pylist()]


def write_mixture(corpus: Path, weights: dict[str, float]) -> None:
    """``mixture.json`` of a corpus artifact."""
    (corpus / "mixture.json").write_text(json.dumps({"weights": weights}))


def write_corpus(folder: Path) -> Path:
    """A corpus artifact of two sources, several files and row groups each."""
    for split, counts in {
        "train": {"wikipedia": 120, "books": 60},
        "validation": {"wikipedia": 6},
    }.items():
        for source, count in counts.items():
            rows = words(source + split, count)
            if split == "train" and source == "books":
                rows[3] |= {"id": "books:special", "text": SPECIAL}
                rows[4] |= {"id": "books:empty", "text": ""}
            write_rows(folder / split / source, rows, files=1 + count // 50)
    write_mixture(folder, {"wikipedia": 0.75, "books": 0.25})
    return folder


def stage(folder: Path) -> StageContext:
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir()
    return StageContext(out=folder / "out", work=folder / "work")


def tree_hash(folder: Path) -> dict[str, str]:
    """sha256 of every file that is part of the content digest."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.relative_to(folder).parts[0] != "logs"
    }
