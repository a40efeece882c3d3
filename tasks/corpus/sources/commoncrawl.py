"""CommonCrawl: WARC, WET and ARC files to text of one language (paper section 2.1; cc_net's rules).

Order of the filters: read -> html -> extract -> lines -> length -> language. cc_net's perplexity
buckets and the paper's Wikipedia-reference classifier are a stage of their own
(``tasks.corpus.quality``); not applied here, the notes say so. The offset of a document is that of
its record: see `tasks.corpus.sources.warc`.

Lines repeated within a group of files go whatever shard they are in: each shard's survey extracts
its pages and lists the keys of their lines, `decide` says which lines are first occurrences, and
`read` keeps those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.language import SURE, identify
from tasks.corpus.rules.web import WebRules, WebSourceRules
from tasks.corpus.sources import first_seen
from tasks.corpus.sources.lines import kept_lines, line_keys
from tasks.corpus.sources.pages import Page, pages
from tasks.corpus.sources.surveyed import SurveyFile, given_up, surveyed_pages
from tasks.corpus.sources.unsharded import surveyed_alone
from tasks.corpus.web.c4_rules import C4Rules
from tasks.corpus.web.gopher_rules import GopherRules

FILTERS = ("html", "extract", "lines", "length", "language")


def survey(
    root: Path, files: Sequence[str], parameters: WebRules, funnel: Funnel, out: Path
) -> None:
    """Extract the shard's pages into ``out`` and list the keys of their lines."""
    funnel.declare("html", "extract")
    with SurveyFile(out, funnel) as kept, first_seen.KeyFile(out, files) as keys:
        for page in pages(root, files, parameters, funnel):
            kept.write(page)
            keys.write(page.file, line_keys(page.text))


def decide(surveys: Sequence[Path], parameters: WebRules, out: Path) -> None:
    """Which lines of each shard are the first of their key in their group of files."""
    keys = first_seen.keys_within(parameters.dedup_memory_mb)
    first_seen.decide(surveys, out, parameters.line_dedup_files, keys)


def read(
    root: Path,
    files: Sequence[str],
    parameters: WebSourceRules,
    funnel: Funnel,
    *,
    decided: Path | None = None,
    surveyed: Path | None = None,
) -> Iterator[Document]:
    """Documents of a shard's files, in the order of files and records.

    Args:
        decided, surveyed: what `decide` made, and what `survey` made of these files; None: the
            files are all there are, and both are made here.
    """
    if decided is None or surveyed is None:
        alone = surveyed_alone(survey, decide, root, files, parameters, funnel)
        with alone as (decided, surveyed):
            yield from read(root, files, parameters, funnel, decided=decided, surveyed=surveyed)
        return
    rules = _Heuristics(parameters)
    funnel.declare(*FILTERS, *rules.filters)
    first = first_seen.is_first(decided, surveyed)
    at = 0
    for page in surveyed_pages(surveyed, funnel):
        count = page.text.count("\n") + 1
        keep = first[at : at + count]
        at += count
        reason = given_up(page, funnel)
        if reason is not None:
            funnel.reject("lines", reason, page.text, page.uri)
            continue
        document = _document(page, kept_lines(page.text, keep), parameters, rules, funnel)
        if document is not None:
            yield document


class _Heuristics:
    """C4's and Gopher's rules, those that are on. filters: their names in the funnel."""

    def __init__(self, parameters: WebSourceRules) -> None:
        self._c4 = C4Rules(parameters) if parameters.c4_rules else None
        self._gopher = GopherRules(parameters) if parameters.gopher_rules else None
        self.filters = (
            *(self._c4.FILTERS if self._c4 else ()),
            *(self._gopher.FILTERS if self._gopher else ()),
        )

    def clean(self, text: str, funnel: Funnel, identity: str) -> str | None:
        """What the rules leave of a page; None when one rejects it."""
        left: str | None = text
        if self._c4 is not None:
            left = self._c4.clean(text, funnel, identity)
        if left is not None and self._gopher is not None:
            left = left if self._gopher.keep(left, funnel, identity) else None
        return left


def _document(
    page: Page, text: str, parameters: WebRules, rules: _Heuristics, funnel: Funnel
) -> Document | None:
    """The document of what is left of a page, or None with the reason counted."""
    if not text:
        funnel.reject("lines", "every line seen before", page.text, page.uri)
        return None
    funnel.keep("lines", page.text, text)
    if len(text) < parameters.minimum_characters:
        funnel.reject("length", "shorter than the minimum", text, page.uri)
        return None
    funnel.keep("length", text)
    language, score = identify(text, max(SURE, parameters.language_threshold))
    if score < parameters.language_threshold:
        funnel.reject("language", "uncertain", text, page.uri)
        return None
    if language != parameters.web_language:
        funnel.reject("language", f"language {language}", text, page.uri)
        return None
    funnel.keep("language", text)
    cleaned = rules.clean(text, funnel, page.uri)
    if cleaned is None:
        return None
    text = cleaned
    # One address may be crawled twice in a second, or stand in WARC, WET and ARC.
    key = f"{page.uri} {page.created} {text}".encode("utf-8", "surrogatepass")
    return Document(
        id=f"commoncrawl:{hashlib.sha256(key).hexdigest()[:24]}",
        text=text,
        source="commoncrawl",
        uri=page.uri,
        language=language,
        language_score=score,
        created=page.created,
        meta={"file": page.file, "offset": page.offset},
    )
