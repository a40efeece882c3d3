"""Per-item records as JSON Lines, written as they are made and read back after a kill.

Items are worked off in chunks of fixed bounds. Only whole chunks are taken up again, so a batch
holds the same items whether or not a run was interrupted, and the results are the same bits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.context import atomic_write_text

Record = Mapping[str, Any]


class ItemJournal:
    """The records of one benchmark in one work folder.

    identity: what the records depend on beside the recipe (prompts, data); a journal of another
    identity is begun anew. item_ids: all items, in order. chunk: items per chunk.
    """

    def __init__(
        self, path: Path, identity: Mapping[str, Any], item_ids: Sequence[str], chunk: int
    ):
        self.path = path
        self.item_ids = list(item_ids)
        self.chunk = chunk
        self._head = json.dumps({"identity": identity, "chunk": chunk}, sort_keys=True)
        self.records: list[Record] = self._read()
        path.parent.mkdir(parents=True, exist_ok=True)
        # What was torn or belongs to an unfinished chunk is cut off.
        atomic_write_text(path, "".join(f"{line}\n" for line in (self._head, *self.lines())))

    def lines(self) -> Iterator[str]:
        """The records as canonical JSON."""
        for record in self.records:
            yield json.dumps(record, sort_keys=True, ensure_ascii=False)

    def remaining(self) -> Iterator[range]:
        """Index ranges of the chunks that are still to be done."""
        for start in range(len(self.records), len(self.item_ids), self.chunk):
            yield range(start, min(start + self.chunk, len(self.item_ids)))

    def append(self, records: Sequence[Record]) -> None:
        """Add the records of the next chunk and make them durable."""
        start = len(self.records)
        expected = self.item_ids[start : start + self.chunk]
        assert [record["id"] for record in records] == expected, "records out of order"
        self.records += records
        with self.path.open("a", encoding="utf-8") as handle:
            for record in records:
                handle.write(json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    def _read(self) -> list[Record]:
        if not self.path.is_file():
            return []
        lines = self.path.read_bytes().split(b"\n")
        if lines[0] != self._head.encode():
            return []
        records: list[Record] = []
        # The text behind the last newline was torn by a kill.
        for line, expected in zip(lines[1:-1], self.item_ids, strict=False):
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not isinstance(record, dict) or record.get("id") != expected:
                break
            records.append(record)
        if len(records) < len(self.item_ids):
            del records[len(records) - len(records) % self.chunk :]
        return records
