"""C4 sample: JSON lines ``{text, url, timestamp}`` of cleaned prose, in gzip as published.

C4 keeps lines that end like a sentence (T5 paper, section 2.2), so every line here is one
paragraph of documentation that does.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tasks.sample.archives import SourceReport, gzip_bytes, moment, write_bytes
from tasks.sample.environment import Environment
from tasks.sample.prose import prose

PACKAGES = [
    ("pandas", "pandas"),
    ("scikit-learn", "sklearn"),
    ("mlflow", "mlflow"),
    ("plotly", "plotly"),
]
SHARDS = 2
PARAGRAPHS = (4, 16)  # of one page


def make_c4(folder: Path, environment: Environment, *, characters: int) -> SourceReport:
    """Write ``c4-train.0000i-of-00002.json.gz`` with about `characters` characters of text."""
    random_pages = random.Random(f"{environment.seed}/c4")
    shards: list[list[str]] = [[] for _ in range(SHARDS)]
    seen: set[str] = set()
    page: list[str] = []
    wanted = random_pages.randint(*PARAGRAPHS)
    documents = written = 0
    for docstring in environment.docstrings(PACKAGES, minimum=200):
        for paragraph in prose(docstring.text):
            if paragraph[-1] in '.!?"' and paragraph not in seen:
                seen.add(paragraph)
                page.append(paragraph)
        if len(page) < wanted:
            continue
        text = "\n".join(page)
        record = {
            "text": text,
            "timestamp": moment(documents).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "url": f"https://docs.example.org/{docstring.package}/{docstring.path}.html",
        }
        shards[documents % SHARDS].append(json.dumps(record, ensure_ascii=False) + "\n")
        documents += 1
        written += len(text)
        page, wanted = [], random_pages.randint(*PARAGRAPHS)
        if written >= characters:
            break
    for index, lines in enumerate(shards):
        name = f"c4-train.{index:05d}-of-{SHARDS:05d}.json.gz"
        write_bytes(folder / name, gzip_bytes("".join(lines).encode("utf-8")))
    return SourceReport(documents, written)
