"""C4, taken as published (paper section 2.1): JSON lines with a ``text`` field."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from tasks.corpus.documents import Document, Funnel
from tasks.corpus.language import identify
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.storable import encodable

MAX_LINE_BYTES = 16_000_000
_NAMES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Documents of all JSON-lines files, in the order of files and lines."""
    for name in files:
        for number, line in _lines(root / name, name, funnel):
            record = _record(line)
            if isinstance(record, str):
                funnel.reject("read", record)
                continue
            text = encodable(record["text"]).strip()
            if not text:
                funnel.reject("read", "no text")
                continue
            funnel.keep("read", text)
            uri = encodable(_uri(record) or f"{name}#{number}")
            language, score = identify(text)
            yield Document(
                id=f"c4:{hashlib.sha256(f'{uri} {name}#{number}'.encode()).hexdigest()[:24]}",
                text=text,
                source="c4",
                uri=uri,
                language=language,
                language_score=score,
                created=_text(record.get("timestamp") or record.get("created")),
                license="ODC-BY-1.0",
                meta={"file": name, "line": number},
            )


def _lines(path: Path, name: str, funnel: Funnel) -> Iterator[tuple[int, bytes]]:
    """Numbered lines (from 1) of a plain or gzip file, none longer than the limit."""
    if not name.lower().endswith(_NAMES):
        funnel.bad_file(name, "no JSON lines file")
        return
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return
    opener = gzip.open if name.lower().endswith(".gz") else open
    with opener(path, "rb") as handle:
        stream = cast(BinaryIO, handle)
        number = 0
        try:
            while line := stream.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    funnel.bad_file(name, "line too long", f"line {number}")
                    return
                if line.strip():
                    yield number, line
        except EOFError as error:
            funnel.bad_file(name, "truncated gzip", error)
        except (OSError, zlib.error) as error:
            funnel.bad_file(name, "corrupt gzip", error)


def _record(line: bytes) -> dict[str, Any] | str:
    """The record of a line, or why it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return "malformed JSON"
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        return "no text field"
    return record


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _uri(record: dict[str, Any]) -> str:
    """Address of a record: C4's ``url``, or in its metadata, or its id when it is an address."""
    meta = record.get("meta") or record.get("metadata")
    candidates = [record.get("url"), record.get("id")]
    if isinstance(meta, dict):
        candidates += [meta.get("url"), meta.get("source")]
    for value in candidates:
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return value
    return ""
