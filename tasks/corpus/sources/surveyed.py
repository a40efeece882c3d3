"""Pages of a shard as its survey keeps them, so that reading it need not extract them again.

``records.parquet`` holds the pages and, between them, what was rejected before; ``counts.json``
what the survey counted. Reading the shard takes over both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from tasks.context import atomic_write_json
from tasks.corpus.documents import ParquetFile, read_documents
from tasks.corpus.funnel import Funnel, Rejected
from tasks.corpus.sources.pages import Page
from tasks.corpus.storable import encodable, encodable_name

RECORDS = "records.parquet"
COUNTS = "counts.json"
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("uri", pa.string()),
        ("created", pa.string()),
        ("text", pa.string()),
        # Of records that hold no page: where and why they were rejected, and their length.
        ("filter", pa.string()),
        ("reason", pa.string()),
        ("characters", pa.int64()),
    ]
)
_PAGE_FIELDS = ("uri", "created", "file", "offset", "text")


class SurveyFile:
    """Writes the pages of a shard's survey and what was rejected before, in order.

    Used as a context manager; at its end it writes the counts of ``funnel`` too.
    """

    def __init__(self, out: Path, funnel: Funnel) -> None:
        self._out = out
        self._funnel = funnel
        self._file = ParquetFile(out / RECORDS, SCHEMA)

    def write(self, page: Page) -> None:
        """Add the next page."""
        self._write_rejected()
        row = vars(page) | {"filter": None, "reason": None, "characters": len(page.text)}
        names = {name: encodable_name(row[name]) for name in ("file", "uri", "created")}
        self._file.write(row | names | {"text": encodable(page.text)})

    def _write_rejected(self) -> None:
        for row in self._funnel.take_rejected():
            self._file.write(
                {
                    "file": encodable_name(row.file),
                    "offset": row.offset,
                    "uri": encodable_name(row.id),
                    "created": None,
                    "text": None if row.text is None else encodable(row.text),
                    "filter": row.filter,
                    "reason": row.reason,
                    "characters": row.characters,
                }
            )

    def __enter__(self) -> SurveyFile:
        self._file.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write_rejected()
        self._file.__exit__(kind, error, trace)
        if kind is None:
            funnel = self._funnel
            counts = {"rows": funnel.rows(), "bad_files": funnel.bad_files, "notes": funnel.notes}
            atomic_write_json(self._out / COUNTS, counts)


def surveyed_pages(folder: Path, funnel: Funnel) -> Iterator[Page]:
    """The pages a survey wrote; its counts and what it rejected are put into ``funnel``."""
    counts = json.loads((folder / COUNTS).read_text("utf-8"))
    found = Funnel.from_rows(funnel.source, counts["rows"])
    found.bad_files, found.notes = counts["bad_files"], counts["notes"]
    funnel.merge(found)
    for row in read_documents(folder / RECORDS):
        if row["filter"] is None:
            yield Page(*(row[name] for name in _PAGE_FIELDS))
        else:
            funnel.rejected_rows.append(
                Rejected(
                    row["uri"], row["filter"], row["reason"], row["file"], row["offset"],
                    row["characters"], row["text"],
                )
            )  # fmt: skip


def given_up(page: Page, funnel: Funnel) -> str | None:
    """Turn to a page again: why it must be passed, None when it is to be read.

    Not `Funnel.at`, which counts among the records that the page's was counted with already.
    """
    funnel.place = (page.file, page.offset)
    return funnel.watch.begin(page.file, page.offset) if funnel.watch is not None else None
