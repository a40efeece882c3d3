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
    """One published figure: ``value`` in percent; ``shots`` None where the paper is silent."""

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

    # Names of benchmarks and metrics are the evaluator's, so that rows join by them.
    made = [
        column("table3_commonsense", name, benchmark, metric, 0)
        for name, benchmark, metric in (
            ("BoolQ", "boolq", "acc_answer"),
            ("PIQA", "piqa", "acc_norm"),
            ("SIQA", "siqa", "acc_norm"),
            ("HellaSwag", "hellaswag", "acc_norm"),
            ("WinoGrande", "winogrande", "acc_norm"),
            ("ARC-e", "arc_easy", "acc_norm"),
            ("ARC-c", "arc_challenge", "acc_norm"),
            ("OBQA", "openbookqa", "acc_answer"),
        )
    ]
    for name, benchmark in (("table4_nq", "nq_open"), ("table5_triviaqa", "triviaqa")):
        for shots in (0, 1, 5, 64):
            made.append(column(name, f"{shots}-shot", benchmark, "exact_match", shots))
    return [
        *made,
        column("table6_race", "RACE-middle", "race_middle", "acc_answer", 0),
        column("table6_race", "RACE-high", "race_high", "acc_answer", 0),
        # The paper does not say how many shots these two had.
        column("table7_math", "MATH", "math", "exact_match", None),
        column("table7_math", "MATH_maj1@k", "math", "maj1@k", None),
        column("table7_math", "GSM8k", "gsm8k", "exact_match", None),
        column("table7_math", "GSM8k_maj1@k", "gsm8k", "maj1@k", None),
        column("table8_code", "HumanEval_pass@1", "humaneval", "pass@1", 0),
        column("table8_code", "HumanEval_pass@100", "humaneval", "pass@100", 0),
        column("table8_code", "MBPP_pass@1", "mbpp", "pass@1", 3),
        column("table8_code", "MBPP_pass@80", "mbpp", "pass@80", 3),
        column("table9_mmlu", "Average", "mmlu", "acc", 5),
        column("table10_instruct", "MMLU_5shot", "mmlu", "acc", 5),
    ]


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
    """LLaMA's figures (LLaMA-I's too) for a benchmark, in the table's order: smallest first.

    ``shots`` None gives all; a figure whose shots the paper does not state always matches.
    """
    return [
        row
        for row in results()
        if row.benchmark == benchmark
        and row.model in ("LLaMA", "LLaMA-I")
        and (shots is None or row.shots in (shots, None))
    ]
