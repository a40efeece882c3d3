"""What making the paper's corpus costs: input of each source, CPU-hours, disk, memory.

``python -m benchmarks.corpus_costs`` prints the table and the sums of docs/operating.md, from
``results/corpus_rates.json`` (rates and assumptions, each with its origin) and
``results/corpus_survival.json`` (what our funnels leave of the real dumps;
``--measure`` writes it).
Table 1 of the paper gives what must come out; what goes in is that over what survives.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, data_folder, processor
from tasks.context import StageContext, atomic_write_json
from tasks.corpus.mixture import SOURCES

RATES = ROOT / "benchmarks" / "results" / "corpus_rates.json"
SURVIVAL = ROOT / "benchmarks" / "results" / "corpus_survival.json"
# An accident of the sample dumps (the same papers twice), or no loss of text at all.
_NOT_COUNTED = {"exact duplicate"}


@dataclass
class Cost:
    """One source. TB of text read and written, of raw dumps, of the work folder, of documents."""

    source: str
    read_tb: float
    raw_tb: float
    out_tb: float
    work_tb: float
    parquet_tb: float
    hours: dict[str, float] = field(default_factory=dict)


def hours(terabytes: float, mb_s: float) -> float:
    """CPU-hours of ``terabytes`` at MB/s of one core."""
    return terabytes * 1e6 / mb_s / 3600


def share(survived: dict[str, Any]) -> float:
    """What a funnel leaves of the text that a source's reader takes in."""
    left = 1.0
    for name, before, after in survived["filters"]:
        if before and name not in _NOT_COUNTED:
            left *= after / before
    return left


def cost(source: str, rates: dict[str, Any], survival: dict[str, Any]) -> Cost:
    """What a source costs up to its documents."""
    assumed = {name: row[0] for name, row in rates["assumed"].items()}
    step = {name: row[0] for name, row in rates["step_mb_s"].items()}
    out_tb = rates["out_tb"][source]
    measured = survival["sources"].get(source)
    found: dict[str, float] = {}
    if source == "commoncrawl":
        assert measured is not None
        kept = {name: after / before for name, before, after in measured["filters"]}
        judged_tb = out_tb / assumed["perplexity_share"] / assumed["classifier_share"]
        read_tb = judged_tb / assumed["english_share"] / kept["length"] / kept["lines"]
        found["lines decided"] = hours(read_tb, step["lines decided"])
        found["quality"] = hours(judged_tb, step["perplexity and classifier"])
        raw_tb = read_tb * assumed["packed_commoncrawl"]
        # Extracted pages stay in the work folder until the shards are read.
        extracted = next(before for name, before, _ in measured["filters"] if name == "lines")
        work_tb = read_tb * measured["work_bytes"] / extracted
        parquet_tb = judged_tb * measured["parquet_bytes"] / measured["out_bytes"]
    elif source == "github":
        read_tb = out_tb / assumed["github_share"]
        raw_tb = read_tb * assumed["packed_github"]
        parquet_tb = work_tb = out_tb * _packed_parquet(survival)
    else:
        assert measured is not None
        read_tb = out_tb / share(measured)
        raw_tb = read_tb * measured["raw_bytes"] / measured["filters"][0][1]
        work_tb = read_tb * measured["work_bytes"] / measured["filters"][0][1]
        parquet_tb = out_tb * measured["parquet_bytes"] / measured["out_bytes"]
    if source == "wikipedia":
        found["language models"] = hours(out_tb, step["language models, trained"])
    found["read"] = hours(max(read_tb, raw_tb), rates["read_mb_s"][source])
    return Cost(source, read_tb, raw_tb, out_tb, work_tb, parquet_tb, found)


def _packed_parquet(survival: dict[str, Any]) -> float:
    rows = survival["sources"].values()
    return float(sum(r["parquet_bytes"] for r in rows) / sum(r["out_bytes"] for r in rows))


def report(rates: dict[str, Any], survival: dict[str, Any]) -> str:
    """The table and the sums of docs/operating.md as Markdown."""
    assumed = {name: row[0] for name, row in rates["assumed"].items()}
    step = {name: row[0] for name, row in rates["step_mb_s"].items()}
    costs = [cost(source, rates, survival) for source in SOURCES]
    lines = [
        "| source | raw dumps, TB | text read, TB | text that stays, TB | CPU-hours |",
        "|---|---|---|---|---|",
    ]
    for one in costs:
        lines.append(
            f"| {one.source} | {one.raw_tb:.2f} | {one.read_tb:.2f} | {one.out_tb:.2f} |"
            f" {sum(one.hours.values()):,.0f} |"
        )
    out_tb = sum(one.out_tb for one in costs)
    raw_tb = sum(one.raw_tb for one in costs)
    after = {
        "near-duplicates and comparison with the benchmarks": hours(out_tb, step["signatures"])
        + hours(out_tb, step["comparison with the benchmarks"]),
        "writing documents and corpus": 2 * hours(out_tb, step["written"]),
        "tokenizing": hours(out_tb, step["tokenized"]),
    }
    lines += [f"| {name} | | | {out_tb:.2f} | {spent:,.0f} |" for name, spent in after.items()]
    total = sum(sum(one.hours.values()) for one in costs) + sum(after.values())
    lines.append(
        f"| all | {raw_tb:.2f} | {sum(one.read_tb for one in costs):.2f} | {out_tb:.2f} |"
        f" {total:,.0f} |"
    )
    cores = assumed["cores"]
    tokens_tb = assumed["tokens"] * assumed["token_bytes"] / 1e12
    result_tb = sum(one.parquet_tb for one in costs) + out_tb * _packed_parquet(survival)
    memory = cores * assumed["worker_gb"] + assumed["dedup_gb"]
    fetching = raw_tb * 8000 / assumed["gbit_s"] / 3600
    crawl = next(one for one in costs if one.source == "commoncrawl")
    lines += [
        "",
        f"- CPU: {total:,.0f} CPU-hours, {total / cores:.0f} hours on {cores} cores. Fetching the"
        f" raw dumps at {assumed['gbit_s']} Gbit/s takes {fetching:.0f} hours.",
        f"- Disk: raw dumps {raw_tb:.0f} TB; work folders {sum(c.work_tb for c in costs):.0f} TB at"
        f" their peak ({crawl.work_tb:.0f} of them CommonCrawl's, if all of it is one recipe);"
        f" documents and corpus {result_tb:.1f} TB; tokens {tokens_tb:.1f} TB, twice that while"
        " their parts are joined.",
        f"- Memory: {memory:.0f} GB over all machines: {assumed['worker_gb']} GB for each of"
        f" {cores} workers, {assumed['dedup_gb']:.1f} GB for what is decided over all documents.",
    ]
    return "\n".join(lines)


def measure(data: Path) -> dict[str, Any]:
    """What the funnels leave of the real dumps, with the bytes that lie on the disk then."""
    from tasks.corpus.build import build_source
    from tasks.corpus.locate import locate_sources
    from tasks.corpus.parameters import CorpusParameters

    parameters = CorpusParameters(workers=2, allow_missing_sources=True)
    found = {}
    for source, names in locate_sources(data).items():
        with tempfile.TemporaryDirectory() as temporary:
            context = StageContext(out=Path(temporary) / "out", work=Path(temporary) / "work")
            context.out.mkdir()
            context.work.mkdir()
            sizes = {name: (data / name).stat().st_size for name in names}
            before = _processor_seconds()
            result = build_source(source, data, sizes, parameters, context)
            rows = json.loads((context.out / "funnel.json").read_text("utf-8"))
            found[source] = {
                "raw_bytes": sum(sizes.values()),
                "out_bytes": result.counts["bytes"],
                "parquet_bytes": _bytes(context.out / "documents"),
                "work_bytes": _bytes(context.work),
                "cpu_seconds": round(_processor_seconds() - before, 2),
                "filters": [[row["filter"], row["bytes_in"], row["bytes_out"]] for row in rows],
            }
    return {
        "command": "python -m benchmarks.corpus_costs --measure",
        "machine": processor(),
        "sources": found,
    }


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--measure", action="store_true", help=f"write {SURVIVAL.name} anew")
    options = parser.parse_args()
    if options.measure:
        atomic_write_json(SURVIVAL, measure(data_folder(options.data)))
    print(report(json.loads(RATES.read_text("utf-8")), json.loads(SURVIVAL.read_text("utf-8"))))


if __name__ == "__main__":
    main()
