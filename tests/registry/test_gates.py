"""The verdict is a pure function: every gate, alone."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from registry.emissions import EmissionTotals
from registry.gates import Candidate, Facts, GatePolicy, Verdict, decide, registered_name
from registry.runs import EvaluationRow

CLEAN = Facts(lineage_problems=())


def row(value: float | None = 0.5, **change: Any) -> EvaluationRow:
    fields = {"benchmark": "boolq", "metric": "acc", "value": value, "n": 100, "stderr": 0.001}
    return EvaluationRow.model_validate(fields | change)


def model(*rows: EvaluationRow, sample: bool = False, digest: str = "d") -> Candidate:
    return Candidate(artifact_key="k" + digest, digest=digest, sample=sample, rows=rows)


def verdict(
    candidate: Candidate,
    incumbent: Candidate | None = None,
    *,
    name: str = "llama-i",
    facts: Facts = CLEAN,
    **policy: Any,
) -> Verdict:
    return decide(
        name=name,
        candidate=candidate,
        incumbent=incumbent,
        policy=GatePolicy(**policy),
        facts=facts,
    )


def failed(given: Verdict) -> list[str]:
    assert given.approved == (not given.failed)
    return [gate.name for gate in given.failed]


def test_first_model_needs_no_incumbent() -> None:
    given = verdict(model(row()))
    assert given.approved
    assert given.summary == "approved"
    outcomes = {gate.name: gate.outcome for gate in given.gates}
    assert outcomes == {
        "data": "passed",
        "evaluated": "passed",
        "thresholds": "not required",
        "regression": "not required",
        "lineage": "passed",
        "licences": "not required",
        "contamination": "not required",
        "emissions": "not required",
    }


def test_pure() -> None:
    arguments: tuple[Any, ...] = (model(row(0.4)), model(row(0.5)))
    assert verdict(*arguments) == verdict(*arguments)


def test_model_without_figures_is_refused() -> None:
    not_run = row(None, status="not run", reason="no sandbox", benchmark="humaneval")
    given = verdict(model(not_run))
    assert failed(given) == ["evaluated"]
    assert given.failed[0].evidence["not_run"] == {"humaneval": "no sandbox"}


@pytest.mark.parametrize(
    ("minimum", "expected"),
    [
        ({"boolq": 0.5}, []),
        ({"boolq": 0.51}, ["thresholds"]),
        ({"boolq/acc_norm": 0.6}, []),
        ({"boolq/acc_norm": 0.61}, ["thresholds"]),
        ({"mmlu": 0.0}, ["thresholds"]),  # a missing metric never passes
    ],
)
def test_thresholds(minimum: dict[str, float], expected: list[str]) -> None:
    rows = (row(0.5), row(0.6, metric="acc_norm"))
    assert failed(verdict(model(*rows), minimum=minimum)) == expected


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([(1, 0.9), (10042, 0.2)], ["thresholds"]),
        ([(10042, 0.2), (1, 0.9)], ["thresholds"]),
        ([(1, 0.2), (10042, 0.9)], []),
        ([(10042, 0.9), (1, 0.2)], []),
        ([(100, 0.9), (100, 0.2)], ["thresholds"]),  # of equals the newest
        ([(100, 0.2), (100, 0.9)], []),
    ],
)
def test_the_largest_evaluation_meets_the_threshold(
    figures: list[tuple[int, float]], expected: list[str]
) -> None:
    # Each evaluation has a second metric behind the first, which is not the one that counts.
    rows = [r for n, value in figures for r in (row(value, n=n), row(0.5, n=n, metric="acc_norm"))]
    given = verdict(model(*rows), minimum={"boolq": 0.5})
    assert failed(given) == expected
    (gate,) = (gate for gate in given.gates if gate.name == "thresholds")
    assert gate.evidence["boolq"]["n"] == max(n for n, _ in figures)


def test_the_largest_common_evaluation_decides_on_a_regression() -> None:
    """A later look at a few items does not hide what all items said."""
    before = model(row(0.5), row(0.5, n=1), digest="old")
    assert failed(verdict(model(row(0.2), row(0.9, n=1)), before)) == ["regression"]


@pytest.mark.parametrize(
    ("value", "stderr", "expected"),
    [
        (0.60, 0.001, []),
        (0.50, 0.001, []),
        (0.481, 0.001, []),  # within the allowed 0.02
        (0.47, 0.001, ["regression"]),
        (0.47, 0.03, []),  # larger, but within two standard errors of the difference
        (0.40, 0.03, ["regression"]),
        (0.47, None, ["regression"]),
    ],
)
def test_regression(value: float, stderr: float | None, expected: list[str]) -> None:
    before = model(row(0.5), digest="old")
    assert failed(verdict(model(row(value, stderr=stderr)), before)) == expected


def test_every_fall_counts_with_zero_sigmas() -> None:
    before = model(row(0.5), digest="old")
    candidate = model(row(0.47, stderr=0.5))
    assert failed(verdict(candidate, before, regression_sigmas=0)) == ["regression"]


def test_figure_that_the_champion_has_and_the_candidate_lacks() -> None:
    before = model(row(), row(benchmark="mmlu"), digest="old")
    given = verdict(model(row()), before)
    assert failed(given) == ["regression"]
    assert "mmlu/acc 0-shot is missing" in given.summary


@pytest.mark.parametrize(
    "change",
    [
        {"n": 50},
        {"data_sha256": "f" * 64},
        {"prompt_hash": "p"},
        {"protocol_version": 2},
        {"sampling": {"temperature": 0.8, "samples": 100}},
    ],
)
def test_figures_of_another_protocol_are_not_compared(change: dict[str, Any]) -> None:
    given = verdict(model(row(0.9, **change)), model(row(0.5), digest="old"))
    assert failed(given) == ["regression"]
    assert "not comparable" in given.summary


def test_comparable_rows_are_found_among_several() -> None:
    before = model(row(0.5), row(0.9, n=50), digest="old")
    assert failed(verdict(model(row(0.5)), before)) == []


def test_new_benchmark_of_the_candidate_is_no_regression() -> None:
    assert failed(verdict(model(row(), row(0.1, benchmark="mmlu")), model(row(), digest="o"))) == []


def test_sample_and_real_models_never_meet() -> None:
    real, sample = model(row()), model(row(sample=True), sample=True)
    assert failed(verdict(sample, name="llama-i")) == ["data"]
    assert failed(verdict(real, name="llama-i-sample")) == ["data"]
    assert failed(verdict(sample, name="llama-i-sample")) == []
    assert failed(verdict(sample, real, name="llama-i-sample")) == ["data"]
    assert registered_name("llama-i", sample=True) == "llama-i-sample"
    assert registered_name("llama-i", sample=False) == "llama-i"


def test_sample_benchmarks_do_not_speak_for_a_real_model() -> None:
    assert failed(verdict(model(row(sample=True)))) == ["evaluated"]
    assert failed(verdict(model(row(0.9, sample=True), row(0.1)), minimum={"boolq": 0.5})) == [
        "thresholds"
    ]


@pytest.mark.parametrize(
    ("facts", "policy", "expected"),
    [
        (Facts(), {}, ["lineage"]),
        (Facts(), {"require_lineage": False}, []),
        (Facts(lineage_problems=("tokens: is missing",)), {}, ["lineage"]),
        (CLEAN, {"allowed_licenses": ["MIT"]}, ["licences"]),
        (Facts(lineage_problems=(), licenses={"MIT": 3}), {"allowed_licenses": ["MIT"]}, []),
        (
            Facts(lineage_problems=(), licenses={"Apache-2.0 AND MIT": 2}),
            {"allowed_licenses": ["MIT", "Apache-2.0"]},
            [],
        ),
        (
            Facts(lineage_problems=(), licenses={"Apache-2.0 AND MIT": 2}),
            {"allowed_licenses": ["MIT"]},
            ["licences"],
        ),
        (
            Facts(lineage_problems=(), licenses={"MIT": 3, "GPL-3.0": 1}),
            {"allowed_licenses": ["MIT"]},
            ["licences"],
        ),
        (Facts(lineage_problems=(), licenses={"GPL-3.0": 1}), {}, []),
        (CLEAN, {"require_contamination_check": True}, ["contamination"]),
        (
            Facts(lineage_problems=(), contamination={"boolq": 0.0}),
            {"require_contamination_check": True},
            [],
        ),
        (
            Facts(lineage_problems=(), contamination={"boolq": 0.1}),
            {"require_contamination_check": True},
            ["contamination"],
        ),
        (
            Facts(lineage_problems=(), contamination={"boolq": 0.1}),
            {"require_contamination_check": True, "largest_contamination": 0.1},
            [],
        ),
        (CLEAN, {"budget_tco2eq": 1.0}, ["emissions"]),  # no reading is never zero
        (
            Facts(lineage_problems=(), emissions=EmissionTotals()),
            {"budget_tco2eq": 1.0},
            ["emissions"],
        ),
        (
            Facts(lineage_problems=(), emissions=EmissionTotals(entries=1, tco2eq=1.0)),
            {"budget_tco2eq": 1.0},
            [],
        ),
        (
            Facts(lineage_problems=(), emissions=EmissionTotals(entries=1, tco2eq=1.1)),
            {"budget_tco2eq": 1.0},
            ["emissions"],
        ),
    ],
)
def test_facts(facts: Facts, policy: dict[str, Any], expected: list[str]) -> None:
    assert failed(verdict(model(row()), facts=facts, **policy)) == expected


def test_policy_is_hashed_by_value_and_has_a_form() -> None:
    assert GatePolicy().hash == GatePolicy(largest_regression=0.02).hash
    assert GatePolicy().hash != GatePolicy(largest_regression=0.03).hash
    for name, field in GatePolicy.model_fields.items():
        assert field.title and field.description, name
    with pytest.raises(ValidationError):
        GatePolicy(version=2)
