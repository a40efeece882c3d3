"""Our wikitext to plain text against mwparserfromhell's `strip_code`, on the real dumps' articles.

Both get the same wikitext as strings in memory, on one thread, and give strings; reading the dumps
is outside the time. Alone: ``python -m benchmarks.corpus_wikitext`` (needs ARRIERO_DATA and
``make peers``); ``--report <folder>`` writes how the outputs differ, page by page: ids and numbers.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import data_folder, interleave
from benchmarks.parts import PartResult, PeerProcess, ratio, seconds_of

NAME = "wikitext_strip"
OURS, PEER = "arriero plain_text", "mwparserfromhell strip_code"
# Those of the small dumps that the paper's list leaves out.
MORE_LANGUAGES = ("ar", "ja", "simple")
# What a reader must not see. Formulas are TeX, and `{{` and `}}` mean something there.
RESIDUE = {
    "link brackets": re.compile(r"\[\[|\]\]"),
    "template braces": re.compile(r"\{\{|\}\}"),
    "apostrophe markup": re.compile("''"),
    "table rows": re.compile(r"^[ \t]*(?:\{\||\|\}|\|)", re.MULTILINE),
    "tags": re.compile(
        r"</?(?:ref|small|br|div|span|sup|sub|table|td|tr|gallery)\b", re.IGNORECASE
    ),
    "image options": re.compile(r"\b(?:thumb|upright|[0-9]+px)\s*\|", re.IGNORECASE),
    "empty brackets": re.compile(r"\([\s,;:]*\)"),
    "behaviour switches": re.compile(r"__[A-Z]{3,}__"),
}


def articles(data: Path) -> list[tuple[str, str]]:
    """Id (language:page) and wikitext of all articles of the dumps, redirects left out."""
    from tasks.corpus.funnel import Funnel
    from tasks.corpus.parameters import CorpusParameters
    from tasks.corpus.sources.wikipedia import read_pages

    root = data / "corpus" / "wikipedia"
    languages = [*CorpusParameters().languages, *MORE_LANGUAGES]
    found = [
        (f"{page.language}:{page.identity}", page.wikitext)
        for path in sorted(root.rglob("*.bz2"))
        for page in read_pages(path, path.name, languages, Funnel("wikipedia"))
    ]
    if not found:
        raise SystemExit(f"{root} holds no dumps")
    return found


def plain(texts: Sequence[str]) -> dict[str, Any]:
    """One round of ours, in the form of a peer's answer."""
    from tasks.corpus.sources.wikitext import plain_text

    wall, busy = time.perf_counter(), time.process_time()
    outputs = [plain_text(text) for text in texts]
    answer = {"seconds": time.perf_counter() - wall, "processor": time.process_time() - busy}
    return {**answer, "outputs": outputs}


def jaccard(ours: str, peer: str) -> float:
    """Distinct words in both over distinct words in either; 1 when there are none."""
    first, second = set(ours.split()), set(peer.split())
    return len(first & second) / len(first | second) if first or second else 1.0


def differences(
    pages: Sequence[tuple[str, str]], ours: Sequence[str], peer: Sequence[str]
) -> list[dict[str, Any]]:
    """One row a page: sizes in characters, likeness of words, words on one side, residue."""
    rows = []
    for (identity, wikitext), mine, theirs in zip(pages, ours, peer, strict=True):
        row: dict[str, Any] = {
            "page": identity,
            "wikitext": len(wikitext),
            "ours": len(mine),
            "peer": len(theirs),
            "equal": mine.split() == theirs.split(),
            "jaccard": round(jaccard(mine, theirs), 4),
            "words only ours": len(set(mine.split()) - set(theirs.split())),
            "words only peer": len(set(theirs.split()) - set(mine.split())),
        }
        for kind, pattern in RESIDUE.items():
            row[f"{kind}, ours"] = len(pattern.findall(mine))
            row[f"{kind}, peer"] = len(pattern.findall(theirs))
        rows.append(row)
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The rows as the facts of the part."""
    likeness = [row["jaccard"] for row in rows]
    return {
        "pages": len(rows),
        "wikitext_characters": sum(row["wikitext"] for row in rows),
        "characters": {side: sum(row[side] for row in rows) for side in ("ours", "peer")},
        "pages_equal": sum(row["equal"] for row in rows) / len(rows),
        "word_jaccard": {
            "mean": statistics.fmean(likeness),
            "median": statistics.median(likeness),
            "least": min(likeness),
        },
        "residue": {
            kind: {side: sum(row[f"{kind}, {side}"] for row in rows) for side in ("ours", "peer")}
            for kind in RESIDUE
        },
    }


def compare(
    data: Path, rounds: int, budget_seconds: float
) -> tuple[PartResult, list[dict[str, Any]]]:
    """The part, and how the outputs differ page by page."""
    pages = articles(data)
    texts = [wikitext for _, wikitext in pages]
    characters = sum(map(len, texts))
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "texts.json", Path(folder) / "outputs.json"
        given.write_text(json.dumps(texts), encoding="utf-8")
        with PeerProcess("wikitext", str(given)) as peer:
            timed = interleave(
                {OURS: lambda: plain(texts), PEER: lambda: peer.ask({})},
                rounds,
                budget_seconds=budget_seconds,
                seconds_of=seconds_of,
            )
            peer.ask({"outputs": str(written)})
        outputs = json.loads(written.read_text(encoding="utf-8"))
    found = differences(pages, timed[OURS].output["outputs"], outputs)
    facts = summary(found)
    rows = []
    for name, side in ((OURS, "ours"), (PEER, "peer")):
        measured = timed[name]
        rows.append(
            [
                name,
                f"{characters / 1e6 / measured.processor_median:.2f}",
                f"{len(pages) / measured.processor_median:.0f}",
                *measured.against(timed[PEER]),
                f"{facts['characters'][side] / 1e6:.2f}",
                str(sum(counts[side] for counts in facts["residue"].values())),
                measured.spread,
                str(len(measured.seconds)),
            ]
        )
    part = PartResult(
        name=NAME,
        title="Wikitext to plain text",
        ratio=ratio(timed[OURS], timed[PEER]),
        columns=["program", "M characters/s", "pages/s", "x peer", "x peer, CPU time",
                 "M characters out", "markup left", "spread", "rounds"],
        rows=rows,
        libraries=f"mwparserfromhell {timed[PEER].output['version']}",
        load=[*timed[OURS].load, *timed[PEER].load],
        notes=[
            f"{len(pages)} articles, {characters / 1e6:.1f} M characters of wikitext, one thread;"
            " rates and the ratio by processor time.",
            f"OUTPUTS DIFFER by design: {facts['pages_equal']:.0%} of the pages are equal but for"
            f" blanks; words have a Jaccard likeness of {facts['word_jaccard']['median']:.3f}"
            " (median). strip_code keeps captions, categories, the text of tables and of some"
            " extension tags, and drops every template; ours drops those and renders templates"
            " that are text (foreign words, quantities, quotations).",
        ],
        facts=facts,
    )  # fmt: skip
    return part, found


def measure(data: Path, rounds: int, budget_seconds: float) -> PartResult:
    """Ratio of processor times: ``strip_code`` over ours, on the same strings."""
    return compare(data, rounds, budget_seconds)[0]


def write_report(folder: Path, part: PartResult, rows: Sequence[dict[str, Any]]) -> None:
    """``wikitext.csv``: the differences page by page; ``wikitext.json``: their summary."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "wikitext.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figures = {"ratio": round(part.ratio, 2), "libraries": part.libraries, **part.facts}
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    (folder / "wikitext.json").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-seconds", type=float, default=60.0)
    parser.add_argument("--report", type=Path, default=None, help="folder for the differences")
    options = parser.parse_args()
    part, rows = compare(data_folder(options.data), options.rounds, options.budget_seconds)
    part.show(threads=1)
    if options.report is not None:
        write_report(options.report, part, rows)


if __name__ == "__main__":
    main()
