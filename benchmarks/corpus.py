"""Corpus preparation beside its peers: ``python -m benchmarks.corpus [--json]``.

Five parts, each the same work on the same input, interleaved; see benchmarks/README.md. The last
line with ``--json`` is one object: ``ratios`` by part, and the ``facts`` beside them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.measure import data_folder, processor
from benchmarks.parts import PartResult

# Names of the ratios and the module that measures each.
PARTS = {
    "datatrove_pipeline": "corpus_datatrove",
    "datasketch_minhash": "corpus_minhash",
    "sentencepiece_encode": "corpus_tokens",
    "wikitext_strip": "corpus_wikitext",
    "latex": "corpus_latex",
}


def measure(part: str, data: Path, rounds: int, budget_seconds: float) -> PartResult:
    """One part's figures."""
    module = importlib.import_module(f"benchmarks.{PARTS[part]}")
    result: PartResult = module.measure(data, rounds, budget_seconds)
    assert result.name == part
    return result


def as_json(results: list[PartResult]) -> dict[str, Any]:
    """What ``--json`` prints."""
    load = [value for result in results for value in result.load]
    return {
        "ratios": {result.name: round(result.ratio, 3) for result in results},
        "facts": {result.name: dict(result.facts) for result in results},
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load": [min(load), max(load)],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="default: ARRIERO_DATA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-seconds", type=float, default=90.0, help="of each part")
    parser.add_argument("--part", choices=[*PARTS], action="append", help="default: all")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args()
    data = data_folder(options.data)
    results = []
    for part in options.part or PARTS:
        results.append(measure(part, data, options.rounds, options.budget_seconds))
        results[-1].show(threads=1)
    if options.json:
        print(json.dumps(as_json(results), sort_keys=True))


if __name__ == "__main__":
    main()
