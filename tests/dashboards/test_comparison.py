"""Our figures stand beside the paper's only where they were measured as the paper did."""

from __future__ import annotations

import pytest

from dashboards import comparison


def score(metric: str, temperature: float | None, benchmark: str = "humaneval") -> comparison.Score:
    return comparison.Score(
        model="m",
        model_key="k",
        model_digest="d",
        benchmark=benchmark,
        metric=metric,
        shots=0,
        value=12.0,
        stderr=1.0,
        n=164,
        truncated=0,
        temperature=temperature,
        reason=None,
    )


@pytest.mark.parametrize(
    ("metric", "temperature", "beside", "stated"),
    [
        ("pass@1", 0.1, True, "0-shot"),
        ("pass@1", 0.8, False, "at temperature 0.1"),
        ("pass@1", None, False, "at temperature 0.1"),  # an old row does not say
        ("pass@100", 0.8, True, "0-shot"),
        ("pass@100", 0.1, False, "at temperature 0.8"),
        ("pass@10", 0.8, False, "not so measured"),
    ],
)
def test_programs_need_the_papers_temperature(
    metric: str, temperature: float | None, beside: bool, stated: str
) -> None:
    row = comparison._beside_paper(score(metric, temperature))
    assert bool(row.paper) is beside
    assert row.paper_shots == stated


def test_likelihoods_have_no_temperature() -> None:
    row = comparison._beside_paper(score("acc_norm", None, "hellaswag"))
    assert row.paper["7B"] == 76.1
