"""Crawl files made record by record, and readers run over them in one shard or several."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel

PEOPLE = "ferryman,baker,widow,muleteer,doctor,schoolmaster,miller,shepherd"
DEEDS = "mended,counted,carried,painted,borrowed,forgot,sold,described"
THINGS = "nets,letters,baskets,kettles,wheels,maps,coats,lanterns"
PLACES = "harbour,mill,valley,market,road,pass,station,bridge"


def sentence(number: int) -> str:
    """A sentence of English; another number, another sentence."""
    who, deed, what, place = (
        words.split(",")[number // 8**power % 8]
        for power, words in enumerate((PEOPLE, DEEDS, THINGS, PLACES))
    )
    return (
        f"In the year of the long winter the {who} {deed} the {what} that somebody had left near"
        f" the {place} of the old town."
    )


def article(first: int, count: int = 6) -> str:
    """A page whose main content is ``count`` paragraphs of a sentence each."""
    body = "".join(f"<p>{sentence(number)}</p>" for number in range(first, first + count))
    return f"<html><head><title>t</title></head><body><article>{body}</article></body></html>"


def record(
    uri: str,
    content: bytes,
    *,
    kind: str = "response",
    length: object = None,
    date: str = "2020-01-01T00:00:00Z",
) -> bytes:
    """A WARC record; ``length`` other than the true one makes it lie."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: {date}\r\n"
        f"Content-Length: {len(content) if length is None else length}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


def http(body: bytes, *headers: str, status: str = "200 OK", kind: str = "text/html") -> bytes:
    """An HTTP response with ``body`` as it is."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def page(number: int, text: str | None = None) -> bytes:
    """A response record whose address ends in ``number``."""
    body = article(10 * number) if text is None else text
    return record(f"http://e.org/{number}", http(body.encode()))


def wet(uri: str, text: str) -> bytes:
    """A record of a WET file."""
    return record(uri, text.encode(), kind="conversion")


def members(*records: bytes) -> bytes:
    """A gzip file with a member for each record."""
    return b"".join(gzip.compress(record, mtime=0) for record in records)


def arc(uri: str, content: bytes) -> bytes:
    """An ARC record."""
    head = f"{uri} 192.0.2.1 20080430204825 text/html {len(content)}\n"
    return head.encode() + content + b"\n"


def read_sharded(
    reader: ModuleType, root: Path, shards: Sequence[Sequence[str]], parameters: Any, work: Path
) -> tuple[list[Document], Funnel]:
    """Survey, decide and read as a build does; the funnels are checked and summed."""
    surveys = []
    for number, files in enumerate(shards):
        survey = work / "survey" / f"{number:05d}"
        survey.mkdir(parents=True)
        reader.survey(root, files, parameters, Funnel(_source(reader)), survey)
        surveys.append(survey)
    decided = work / "decided"
    decided.mkdir()
    reader.decide(surveys, parameters, decided)
    documents: list[Document] = []
    total = Funnel(_source(reader))
    for survey, files in zip(surveys, shards, strict=True):
        funnel = total.child()
        found = list(reader.read(root, files, parameters, funnel, decided=decided, surveyed=survey))
        check_chain(funnel.rows(), {"documents": len(found)})
        documents += found
        total.merge(funnel)
    return documents, total


def rejected(funnel: Funnel, name: str) -> dict[str, int]:
    """What a filter rejected, by reason."""
    return dict(funnel.entries[name].rejected)


def _source(reader: ModuleType) -> str:
    return reader.__name__.rpartition(".")[2]
