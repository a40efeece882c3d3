"""The paper's tables, as rows: what our own figures are printed beside.

The CSV files in ``paper/`` are the tables of "LLaMA: Open and Efficient Foundation Language
Models" (arXiv:2302.13971). Files named ``context_*``, ``derived_*``, ``presets_*`` and
``table3b_*`` hold figures of the sources they name.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

FOLDER = Path(__file__).parent / "paper"


class PaperResult(BaseModel):
    """One published figure. ``value`` is in the unit of the table: percent, except toxicity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    benchmark: str
    metric: str
    model: str
    size: str
    shots: int | None
    value: float


class _Column(BaseModel):
    """Which column of which table holds which benchmark."""

    model_config = ConfigDict(frozen=True)

    table: str
    column: str
    benchmark: str
    metric: str
    shots: int | None


def _columns() -> list[_Column]:
    def column(table: str, name: str, benchmark: str, metric: str, shots: int | None) -> _Column:
        return _Column(table=table, column=name, benchmark=benchmark, metric=metric, shots=shots)

    common = {
        "BoolQ": "boolq",
        "PIQA": "piqa",
        "SIQA": "siqa",
        "HellaSwag": "hellaswag",
        "WinoGrande": "winogrande",
        "ARC-e": "arc_easy",
        "ARC-c": "arc_challenge",
        "OBQA": "obqa",
    }
    made = [
        column("table3_commonsense", name, benchmark, "accuracy", 0)
        for name, benchmark in common.items()
    ]
    for table, benchmark in (("table4_nq", "nq"), ("table5_triviaqa", "triviaqa")):
        for shots in (0, 1, 5, 64):
            made.append(column(table, f"{shots}-shot", benchmark, "exact_match", shots))
    for name, benchmark in (("RACE-middle", "race_middle"), ("RACE-high", "race_high")):
        made.append(column("table6_race", name, benchmark, "accuracy", 0))
    made += [
        column("table7_math", "MATH", "math", "accuracy", 4),
        column("table7_math", "MATH_maj1@k", "math", "maj1@k", 4),
        column("table7_math", "GSM8k", "gsm8k", "accuracy", 8),
        column("table7_math", "GSM8k_maj1@k", "gsm8k", "maj1@k", 8),
        column("table8_code", "HumanEval_pass@1", "humaneval", "pass@1", 0),
        column("table8_code", "HumanEval_pass@100", "humaneval", "pass@100", 0),
        column("table8_code", "MBPP_pass@1", "mbpp", "pass@1", 3),
        column("table8_code", "MBPP_pass@80", "mbpp", "pass@80", 3),
        column("table9_mmlu", "Average", "mmlu", "accuracy", 5),
        column("table10_instruct", "MMLU_5shot", "mmlu", "accuracy", 5),
    ]
    return made


@cache
def tables() -> tuple[str, ...]:
    """Names of all tables."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.csv")))


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """Rows of a table as text, an empty cell being ``""``; ``ValueError`` lists the names."""
    path = FOLDER / f"{name}.csv"
    if name not in tables():
        raise ValueError(f"no table {name!r}; there are {', '.join(tables())}")
    with path.open(encoding="utf-8", newline="") as handle:
        return tuple(csv.DictReader(handle))


@cache
def results() -> tuple[PaperResult, ...]:
    """Every published figure of the benchmarks that the evaluator knows, all models."""
    found: list[PaperResult] = []
    for where in _columns():
        for row in table(where.table):
            if row[where.column] == "":
                continue
            found.append(
                PaperResult(
                    table=where.table,
                    benchmark=where.benchmark,
                    metric=where.metric,
                    model=row["model"],
                    size=row["size"],
                    shots=where.shots,
                    value=float(row[where.column]),
                )
            )
    return tuple(found)


def llama_results(benchmark: str, shots: int | None = None) -> list[PaperResult]:
    """LLaMA's figures (LLaMA-I's too) for a benchmark, smallest model first."""
    return [
        row
        for row in results()
        if row.benchmark == benchmark
        and row.model in ("LLaMA", "LLaMA-I")
        and (shots is None or row.shots == shots)
    ]
