"""C4 (paper section 2.1): JSON lines as published, and C4's rules on crawl text of our own.

JSON lines with a ``text`` field are taken as they are: they pass every filter. WARC, WET and ARC
files are extracted as for CommonCrawl, then cleaned. Order of the filters: read -> html -> extract
-> language (English, sure) -> C4's heuristics (`tasks.corpus.web.c4_rules`) -> spans (of equal
spans of sentences in all crawl files the first stays). The offset of a document is its line, from
1, or that of its record: see `tasks.corpus.sources.warc`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.language import SURE, identify
from tasks.corpus.rules.c4 import C4SourceRules
from tasks.corpus.sources import first_seen, pages
from tasks.corpus.sources.json_lines import NAMES, numbered_lines
from tasks.corpus.sources.pages import Page, is_crawl_file
from tasks.corpus.sources.spans import kept_sentences, span_keys
from tasks.corpus.sources.surveyed import SurveyFile, given_up, surveyed_pages
from tasks.corpus.sources.unsharded import surveyed_alone
from tasks.corpus.storable import encodable
from tasks.corpus.web.c4_rules import C4Rules
from tasks.corpus.web.sentences import at_least

LANGUAGE = "language"
SPANS = "spans"
FILTERS = (*pages.FILTERS, LANGUAGE, *C4Rules.FILTERS, SPANS)


def survey(
    root: Path, files: Sequence[str], parameters: C4SourceRules, funnel: Funnel, out: Path
) -> None:
    """Extract and clean the shard's crawl pages into ``out`` and list the keys of their spans."""
    crawl = [name for name in files if is_crawl_file(name)]
    funnel.declare(*FILTERS[:-1])
    with SurveyFile(out, funnel) as kept, first_seen.KeyFile(out, crawl) as keys:
        if not crawl:
            return
        rules = C4Rules(parameters)
        for page in pages.pages(root, crawl, parameters, funnel):
            text = _cleaned(page, rules, parameters, funnel)
            if text is not None:
                kept.write(Page(page.uri, page.created, page.file, page.offset, text))
                keys.write(page.file, span_keys(text, parameters.c4_span_sentences))


def decide(surveys: Sequence[Path], parameters: C4SourceRules, out: Path) -> None:
    """Which spans of each shard are the first of their key in all crawl files."""
    keys = first_seen.keys_within(parameters.dedup_memory_mb)
    first_seen.decide(surveys, out, None, keys)


def read(
    root: Path,
    files: Sequence[str],
    parameters: C4SourceRules,
    funnel: Funnel,
    *,
    decided: Path | None = None,
    surveyed: Path | None = None,
) -> Iterator[Document]:
    """Documents of a shard's files, in the order of files and of lines or records.

    Args:
        decided, surveyed: what `decide` made, and what `survey` made of these files; None: the
            files are all there are, and both are made here.
    """
    if decided is None or surveyed is None:
        alone = surveyed_alone(survey, decide, root, files, parameters, funnel)
        with alone as (decided, surveyed):
            yield from read(root, files, parameters, funnel, decided=decided, surveyed=surveyed)
        return
    funnel.declare(*FILTERS)
    first = first_seen.is_first(decided, surveyed)
    at = 0
    crawled = surveyed_pages(surveyed, funnel)
    page = next(crawled, None)
    for name in files:
        if not is_crawl_file(name):
            yield from _published(root, name, funnel)
            continue
        while page is not None and page.file == name:
            count = len(span_keys(page.text, parameters.c4_span_sentences))
            document = _crawled(page, first[at : at + count], parameters, funnel)
            if document is not None:
                yield document
            at += count
            page = next(crawled, None)


def _cleaned(page: Page, rules: C4Rules, parameters: C4SourceRules, funnel: Funnel) -> str | None:
    """A page's text by C4's rules, or None with the reason counted."""
    language, score = identify(page.text)
    if language != "en" or score < parameters.c4_language_threshold:
        reason = "English, but uncertain" if language == "en" else f"language {language}"
        funnel.reject(LANGUAGE, reason, page.text, page.uri)
        return None
    funnel.keep(LANGUAGE, page.text)
    return rules.clean(page.text, funnel, page.uri)


def _crawled(
    page: Page, first: NDArray[np.bool_], parameters: C4SourceRules, funnel: Funnel
) -> Document | None:
    """The document of a cleaned page without spans seen before, or None with the reason counted.

    first: which of its spans are the first of their key.
    """
    reason = given_up(page, funnel)
    text = page.text
    if reason is None and len(first):
        text = kept_sentences(page.text, first, parameters.c4_span_sentences)
        if not text:
            reason = "every span seen before"
        elif text is not page.text:
            enough = at_least(text.splitlines(), parameters.c4_min_sentences)
            reason = None if enough else "too few sentences left"
    if reason is not None:
        funnel.reject(SPANS, reason, page.text, page.uri)
        return None
    funnel.keep(SPANS, page.text, text)
    language, score = identify(text)
    key = f"{page.uri} {page.created} {text}".encode("utf-8", "surrogatepass")
    return Document(
        id=f"c4:{hashlib.sha256(key).hexdigest()[:24]}",
        text=text,
        source="c4",
        uri=page.uri,
        language=language,
        language_score=score,
        created=page.created,
        meta={"file": page.file, "offset": page.offset},
    )


def _published(root: Path, name: str, funnel: Funnel) -> Iterator[Document]:
    """Documents of a file of JSON lines."""
    path = root / name
    if not name.lower().endswith(NAMES):
        funnel.bad_file(name, "no JSON lines file")
        return
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return
    for number, line in numbered_lines(path, name, funnel):
        if not funnel.at(name, number):
            continue
        record = _record(line)
        text = record if isinstance(record, str) else encodable(record["text"]).strip()
        if isinstance(record, str) or not text:
            reason = record if isinstance(record, str) else "no text"
            funnel.reject("read", reason, "", f"{name}#{number}")
            continue
        for passed in ("read", *FILTERS):
            funnel.keep(passed, text)
        uri = encodable(_uri(record) or f"{name}#{number}")
        language, score = identify(text, SURE)
        yield Document(
            id=f"c4:{hashlib.sha256(f'{uri} {name}#{number}'.encode()).hexdigest()[:24]}",
            text=text,
            source="c4",
            uri=uri,
            language=language,
            language_score=score,
            created=_text(record.get("timestamp") or record.get("created")),
            license="ODC-BY-1.0",
            meta={"file": name, "offset": number},
        )


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
