"""Records of the items to rows of results, and the protocol that says what the rows mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.evaluation.answering import metrics_of
from tasks.evaluation.journal import Record
from tasks.evaluation.parameters import EvaluationParameters
from tasks.evaluation.plan import Plan


def result_rows(
    plan: Plan, records: Sequence[Record], metrics: Sequence[str], sample: bool
) -> list[dict[str, Any]]:
    """One row per metric, the paper's first. Values are fractions; stderr is the standard error of
    the mean over items, sqrt(p (1 - p) / (n - 1)) for right-or-wrong metrics (0 for one item)."""
    rows = []
    for metric in metrics:
        values = [record["values"][metric] for record in records]
        mean, error = mean_and_error(values) if values else (None, None)
        rows.append(
            {
                "benchmark": plan.benchmark.name,
                "metric": metric,
                "value": mean,
                "stderr": error,
                "n": len(values),
                "shots": plan.shots,
                "protocol_version": plan.benchmark.protocol_version,
                "prompt_hash": plan.prompt_hash,
                "data_sha256": plan.data_sha256,
                "truncated": sum(is_truncated(record) for record in records),
                "sampling": plan.sampling,
                "status": "not run" if plan.reason else "ok",
                "reason": plan.reason,
                "sample": sample,
            }
        )
    return rows


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error: sample standard deviation / sqrt(n); 0 for a single value."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return mean, 0.0
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, math.sqrt(variance / count)


def is_truncated(record: Record) -> bool:
    """Whether the model did not see the whole prompt of an item."""
    return record["shots_dropped"] > 0 or record["tokens_cut"] > 0


def protocol_of(
    plan: Plan, records: Sequence[Record], parameters: EvaluationParameters
) -> Mapping[str, Any]:
    """What a benchmark's rows mean, and how its prompts were made to fit."""
    benchmark = plan.benchmark
    return {
        "title": benchmark.title,
        "source": benchmark.source,
        "protocol": benchmark.protocol,
        "protocol_version": benchmark.protocol_version,
        "paper_metric": metrics_of(benchmark, parameters)[0],
        "shots": plan.shots,
        "shots_dropped": sum(record["shots_dropped"] for record in records),
        "shots_dropped_items": sum(record["shots_dropped"] > 0 for record in records),
        "cut_items": sum(record["tokens_cut"] > 0 for record in records),
        "unasked_items": sum("reason" in record for record in records),
        "selection": "all items"
        if parameters.item_limit is None
        else f"at most {parameters.item_limit} items with the smallest sha256 of seed and id",
        "sampling": plan.sampling,
    }
