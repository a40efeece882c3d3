"""Promotion gates: a pure function from rows and a policy to a verdict with its evidence."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from registry.emissions import EmissionTotals
from registry.files import canonical_json
from registry.lineage import SAMPLE_SUFFIX
from registry.runs import EvaluationRow

POLICY_VERSION = 1


class GatePolicy(BaseModel):
    """What a model must show to become champion; stored with every verdict and hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Promotion gates")

    version: int = Field(
        default=POLICY_VERSION,
        title="Policy version",
        description="Version of the meaning of these gates.",
        ge=POLICY_VERSION,
        le=POLICY_VERSION,
    )
    minimum: dict[str, float] = Field(
        default_factory=dict,
        title="Thresholds",
        description="`benchmark` or `benchmark/metric` to the least value, in 0..1; without a"
        " metric the benchmark's first one counts. Empty = none.",
    )
    largest_regression: float = Field(
        default=0.02,
        title="Largest regression",
        description="How far a figure may fall below the champion's, in 0..1.",
        ge=0,
        le=1,
    )
    regression_sigmas: float = Field(
        default=2.0,
        title="Significance of a regression",
        description="A larger fall counts only beyond this many standard errors of the"
        " difference; 0 takes every fall at its word.",
        ge=0,
        le=10,
    )
    require_lineage: bool = Field(
        default=True,
        title="Require lineage",
        description="Every path must end at fingerprinted raw files.",
    )
    allowed_licenses: list[str] | None = Field(
        default=None,
        title="Allowed licences",
        description="Licences that documents may have, as the sources name them; empty field ="
        " not checked.",
    )
    require_contamination_check: bool = Field(
        default=False,
        title="Require contamination check",
        description="Training documents must have been compared with the benchmarks.",
    )
    largest_contamination: float = Field(
        default=0.0,
        title="Largest contamination",
        description="Share of benchmark items found in the training documents, in 0..1.",
        ge=0,
        le=1,
    )
    budget_tco2eq: float | None = Field(
        default=None,
        title="Emissions budget",
        description="t CO2eq that making the model may have cost, all attempts; empty = none.",
        ge=0,
    )

    @property
    def hash(self) -> str:
        """sha256 of the policy's canonical JSON."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()


class Candidate(BaseModel):
    """A model and its evaluation rows, as the gates see it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact_key: str
    digest: str
    sample: bool
    rows: tuple[EvaluationRow, ...] = ()


class Facts(BaseModel):
    """What the gates know beside evaluations; None = nobody looked.

    ``licenses`` maps licence to documents; ``contamination`` benchmark to the share of its items
    found in the training documents; ``emissions`` sums every attempt at the model's lineage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lineage_problems: tuple[str, ...] | None = None
    licenses: dict[str, int] | None = None
    contamination: dict[str, float] | None = None
    emissions: EmissionTotals | None = None


class Gate(BaseModel):
    """One gate's outcome, why, and the figures it saw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    outcome: Literal["passed", "failed", "not required"]
    detail: str
    evidence: dict[str, Any] = Field(default_factory=dict)


class Verdict(BaseModel):
    """All gates of one decision; approved when none failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approved: bool
    gates: tuple[Gate, ...]

    @property
    def failed(self) -> tuple[Gate, ...]:
        """The gates that refuse."""
        return tuple(gate for gate in self.gates if gate.outcome == "failed")

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.approved:
            return "approved"
        return "refused: " + "; ".join(f"{gate.name}: {gate.detail}" for gate in self.failed)


def decide(
    *,
    name: str,
    candidate: Candidate,
    incumbent: Candidate | None,
    policy: GatePolicy,
    facts: Facts,
) -> Verdict:
    """Whether ``candidate`` may become champion of ``name``. Pure: same arguments, same verdict.

    A model made from sample data competes only under a name that ends in ``-sample``, and a real
    one only under one that does not, so that neither ever replaces the other. Rows on sample
    benchmarks never speak for a real model.
    """
    ours = _counting_rows(candidate)
    theirs = () if incumbent is None else _counting_rows(incumbent)
    gates = (
        _sample_gate(name, candidate, incumbent),
        _evaluated_gate(ours, candidate),
        _threshold_gate(ours, policy),
        _regression_gate(ours, theirs, incumbent, policy),
        _lineage_gate(policy, facts),
        _license_gate(policy, facts),
        _contamination_gate(policy, facts),
        _emissions_gate(policy, facts),
    )
    return Verdict(approved=all(gate.outcome != "failed" for gate in gates), gates=gates)


def registered_name(base: str, *, sample: bool) -> str:
    """The name a model is registered under: sample models have names of their own."""
    return base + SAMPLE_SUFFIX if sample else base


def _counting_rows(model: Candidate) -> tuple[EvaluationRow, ...]:
    """Rows that ran and that say something about a model of this sort."""
    return tuple(row for row in model.rows if row.status == "ok" and row.sample == model.sample)


def _gate(name: str, failed: bool, detail: str, /, **evidence: Any) -> Gate:
    return Gate(
        name=name, outcome="failed" if failed else "passed", detail=detail, evidence=evidence
    )


def _skipped(name: str, detail: str) -> Gate:
    return Gate(name=name, outcome="not required", detail=detail)


def _sample_gate(name: str, candidate: Candidate, incumbent: Candidate | None) -> Gate:
    named_sample = name.endswith(SAMPLE_SUFFIX)
    evidence = {"name": name, "candidate_is_sample": candidate.sample}
    if candidate.sample != named_sample:
        sort = "sample" if candidate.sample else "real"
        wanted = registered_name(name.removesuffix(SAMPLE_SUFFIX), sample=candidate.sample)
        detail = f"a model made from {sort} data cannot be {name!r}; register it as {wanted!r}"
        return _gate("data", True, detail, **evidence)
    if incumbent is not None and incumbent.sample != candidate.sample:
        return _gate("data", True, "the champion is of the other sort of data", **evidence)
    return _gate("data", False, "name and data agree", **evidence)


def _evaluated_gate(rows: Sequence[EvaluationRow], candidate: Candidate) -> Gate:
    not_run = {row.benchmark: row.reason for row in candidate.rows if row.status == "not run"}
    detail = f"{len(rows)} figures" if rows else "no benchmark ran on data of its own sort"
    return _gate("evaluated", not rows, detail, figures=len(rows), not_run=not_run)


def _threshold_gate(rows: Sequence[EvaluationRow], policy: GatePolicy) -> Gate:
    if not policy.minimum:
        return _skipped("thresholds", "the policy names none")
    problems: list[str] = []
    seen: dict[str, Any] = {}
    for wanted, least in sorted(policy.minimum.items()):
        benchmark, _, metric = wanted.partition("/")
        matching = [r for r in rows if r.benchmark == benchmark and metric in ("", r.metric)]
        if not matching:
            problems.append(f"{wanted} is missing")
            seen[wanted] = None
            continue
        # Rows of one evaluation begin with the benchmark's first metric.
        metric = matching[0].metric
        best = _strongest([row for row in matching if row.metric == metric])
        value = best.value
        assert value is not None  # rows that ran have one
        seen[wanted] = {"value": value, "least": least, "metric": metric, "n": best.n}
        if value < least:
            problems.append(f"{wanted} {value:.4f} < {least:.4f}")
    return _gate("thresholds", bool(problems), "; ".join(problems) or "all met", **seen)


def _regression_gate(
    ours: Sequence[EvaluationRow],
    theirs: Sequence[EvaluationRow],
    incumbent: Candidate | None,
    policy: GatePolicy,
) -> Gate:
    if incumbent is None:
        return _skipped("regression", "there is no champion yet")
    problems: list[str] = []
    compared: list[dict[str, Any]] = []
    figures: dict[tuple[str, str, int], list[EvaluationRow]] = {}
    for row in theirs:
        figures.setdefault((row.benchmark, row.metric, row.shots), []).append(row)
    for (benchmark, metric, shots), before in sorted(figures.items()):
        label = f"{benchmark}/{metric} {shots}-shot"
        mine = [r for r in ours if (r.benchmark, r.metric, r.shots) == (benchmark, metric, shots)]
        if not mine:
            problems.append(f"{label} is missing, the champion has it")
            continue
        pairs = [(new, old) for new in mine for old in before if _protocol(new) == _protocol(old)]
        if not pairs:
            problems.append(
                f"{label} is not comparable: evaluate both on the same items and prompt"
            )
            continue
        new, old = max(reversed(pairs), key=lambda pair: pair[0].n)
        assert new.value is not None and old.value is not None
        fall = old.value - new.value
        error = math.hypot(new.stderr or 0.0, old.stderr or 0.0)
        compared.append({"figure": label, "candidate": new.value, "champion": old.value})
        if fall > policy.largest_regression and fall > policy.regression_sigmas * error:
            problems.append(f"{label} fell from {old.value:.4f} to {new.value:.4f}")
    detail = "; ".join(problems) or f"{len(compared)} figures hold"
    return _gate("regression", bool(problems), detail, compared=compared)


def _strongest(rows: Sequence[EvaluationRow]) -> EvaluationRow:
    """The row over the most items; of equals the newest (rows come oldest first)."""
    return max(reversed(rows), key=lambda row: row.n)


def _protocol(row: EvaluationRow) -> tuple[Any, ...]:
    """What two figures must share to be compared."""
    drawn = canonical_json(row.sampling)
    return (row.protocol_version, row.prompt_hash, row.data_sha256, row.n, drawn)


def _lineage_gate(policy: GatePolicy, facts: Facts) -> Gate:
    if not policy.require_lineage:
        return _skipped("lineage", "the policy does not ask")
    if facts.lineage_problems is None:
        return _gate("lineage", True, "nobody traced it")
    problems = list(facts.lineage_problems)
    detail = "; ".join(problems[:3]) or "complete down to raw files"
    return _gate("lineage", bool(problems), detail, problems=problems)


def _license_gate(policy: GatePolicy, facts: Facts) -> Gate:
    if policy.allowed_licenses is None:
        return _skipped("licences", "the policy does not ask")
    if facts.licenses is None:
        return _gate("licences", True, "no stage recorded the licences of its documents")
    allowed = set(policy.allowed_licenses)
    # A document under two licences at once needs both of them allowed.
    others = {
        name: n
        for name, n in sorted(facts.licenses.items())
        if n and not allowed.issuperset(name.split(" AND "))
    }
    detail = ", ".join(f"{n} documents under {name or 'no licence'}" for name, n in others.items())
    return _gate("licences", bool(others), detail or "all allowed", not_allowed=others)


def _contamination_gate(policy: GatePolicy, facts: Facts) -> Gate:
    if facts.contamination is None:
        if policy.require_contamination_check:
            return _gate("contamination", True, "nobody compared documents with benchmarks")
        return _skipped("contamination", "not checked, and the policy does not ask")
    limit = policy.largest_contamination
    above = {name: s for name, s in sorted(facts.contamination.items()) if s > limit}
    detail = ", ".join(f"{name} {share:.4f}" for name, share in above.items())
    shares: Mapping[str, float] = facts.contamination
    failed = bool(above) and policy.require_contamination_check
    return _gate("contamination", failed, detail or "within the limit", shares=dict(shares))


def _emissions_gate(policy: GatePolicy, facts: Facts) -> Gate:
    if policy.budget_tco2eq is None:
        return _skipped("emissions", "the policy names no budget")
    if facts.emissions is None or facts.emissions.entries == 0:
        # No reading is never zero.
        return _gate("emissions", True, "nothing was metered, so the budget cannot be checked")
    spent = facts.emissions.tco2eq
    detail = f"{spent:.6f} of {policy.budget_tco2eq:.6f} t CO2eq"
    return _gate("emissions", spent > policy.budget_tco2eq, detail, spent_tco2eq=spent)
