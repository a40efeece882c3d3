"""JSON lines as records, plain or gzip, none longer than a bound.

A line that is too long or no JSON is one counted record; what stands behind it is read.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from tasks.corpus.funnel import Funnel
from tasks.corpus.sources import damage


def json_records(
    path: Path, name: str, funnel: Funnel, longest: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered records (from 1) of a file; each is begun with ``funnel.at(name, number)``.

    Args:
        longest: bytes of a line at most.
    """
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return
    opener = gzip.open if name.lower().endswith(".gz") else open
    with opener(path, "rb") as handle:
        stream = cast(BinaryIO, handle)
        number = 0
        try:
            while True:
                number += 1
                wanted = funnel.at(name, number)
                line = stream.readline(longest + 1)
                if not line:
                    break
                whole = line.endswith(b"\n") or len(line) <= longest
                while not whole:  # the rest of a line that is too long
                    rest = stream.readline(longest)
                    whole = not rest or rest.endswith(b"\n")
                if wanted and line.strip():
                    record = _record(line, longest)
                    if isinstance(record, str):
                        funnel.reject("read", record)
                    else:
                        yield number, record
        except damage.PACKED as error:
            funnel.bad_file(name, f"{damage.kind(error)} gzip", error)


def _record(line: bytes, longest: int) -> dict[str, Any] | str:
    """The record of a line, or why it is none."""
    if len(line) > longest:
        return "line too long"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return "malformed record"
    return record if isinstance(record, dict) else "malformed record"
