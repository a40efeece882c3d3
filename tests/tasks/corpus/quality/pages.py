"""Artifacts of documents for these tests, of text written here."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tasks.context import StageContext
from tasks.corpus.documents import REJECTED_SCHEMA, Document, ParquetFile, write_documents
from tasks.corpus.funnel import Funnel
from tasks.corpus.quality.models import build_models
from tasks.corpus.quality.parameters import QualityModelParameters

KNOWLEDGE = (
    "the river rises in the northern hills and flows past three old towns to the sea. "
    "its valley was settled by farmers in the ninth century. a treaty of 1648 names the bridge. "
    "the museum holds coins, maps and letters of the period. the population was counted in 1901. "
    "botanists described two rare species of orchid that grow on the limestone slopes. "
)
SALE = (
    "buy now and save on every order today. click here for the best price and free shipping. "
    "add to cart, limited offer, hot deal, only while stock lasts. win a voucher, sign up now. "
    "cheap watches, cheap phones, cheap shoes, order two and get one free, deal of the week. "
)


def prose(kind: str, seed: int, words: int = 120) -> str:
    """Words of ``kind`` in an order of their own: like its page, and no other's copy."""
    source = random.Random(seed)
    sentences = [sentence.strip() for sentence in kind.split(". ") if sentence.strip()]
    held: list[str] = []
    while len(held) < words:
        held += f"{source.choice(sentences)}.".split()
        if source.random() < 0.2:
            held.append(f"Note {source.randrange(1000)}.")
    return " ".join(held)


def page(number: int, text: str, uri: str, source: str = "commoncrawl", **fields: Any) -> Document:
    meta = {"file": "corpus/commoncrawl/a.wet", "offset": number}
    values: dict[str, Any] = {"language": "en", "license": "", "meta": meta} | fields
    return Document(f"{source}:{number:05d}", text, source, uri, **values)


def article(
    number: int, text: str, references: Sequence[str] = (), language: str = "en"
) -> Document:
    meta = {"title": f"Article {number}", "references": list(references)}
    identity = f"wikipedia:{language}:{number}"
    return Document(identity, text, "wikipedia", "", language=language, meta=meta)


def write_artifact(folder: Path, *shards: Iterable[Document]) -> Path:
    """A documents artifact as `build_source` writes it: one file per shard, two in its chain."""
    total = Funnel("commoncrawl")
    rows: list[dict[str, Any]] = []
    for number, documents in enumerate(shards):
        name = f"{number:05d}.parquet"
        held = list(documents)
        if held:
            write_documents(folder / "documents" / name, held)
        funnel = Funnel("commoncrawl")
        for document in held:
            funnel.keep("read", document.text)
            funnel.keep("length", document.text)
        funnel.keep("read", "short")
        funnel.reject("length", "shorter than the minimum", "short", f"short-{number}")
        with ParquetFile(folder / "rejected" / name, REJECTED_SCHEMA) as rejected:
            for row in funnel.take_rejected():
                rejected.write(row._asdict())
        rows += [{"shard": number, **row} for row in funnel.rows()]
        total.merge(funnel)
    bad = [{"path": "corpus/commoncrawl/b.wet", "reason": "truncated gzip", "offset": 7}]
    for name, value in {
        "funnel": total.rows(), "funnel_shards": rows, "bad_files": bad, "licenses": {},
    }.items():  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def crawl(
    folder: Path,
    pages: int = 80,
    cited: int = 40,
    *,
    source: str = "commoncrawl",
    host: str = "site",
    path: str = "page/",
) -> dict[str, Path]:
    """Wikipedia that cites the first pages of a crawl, and the crawl: a page to a host.

    host, path: of the pages; with another path their hosts alone are cited.
    """
    texts = [prose(KNOWLEDGE if n < cited else SALE, n) for n in range(pages)]
    documents = [
        page(n, text, f"http://www.{host}{n}.example/{path}", source)
        for n, text in enumerate(texts)
    ]
    urls = [f"https://site{number}.example/page" for number in range(cited)]
    articles = [article(n, prose(KNOWLEDGE, 1000 + n), urls[n::10]) for n in range(10)]
    articles.append(article(0, "Le fleuve.", language="fr"))
    return {
        "wikipedia": write_artifact(folder / "wikipedia", articles),
        "pages": write_artifact(folder / "pages", documents[: pages // 2], documents[pages // 2 :]),
    }


def context_in(folder: Path) -> StageContext:
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)
    return StageContext(out=folder / "out", work=folder / "work")


SMALL = QualityModelParameters(
    perplexity="off", reference_minimum=10, reference_bits=12, minimum_bytes=1000,
    cutoff_minimum=10, vocabulary=400,
)  # fmt: skip


def train_in_process(folder: str, out: str) -> None:
    """Called in another process by a test."""
    inputs = {name: Path(folder) / name for name in ("wikipedia", "pages")}
    build_models(inputs, SMALL, context_in(Path(out)))
