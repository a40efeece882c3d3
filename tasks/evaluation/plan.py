"""What a run is going to ask: items and requests of each benchmark, or why it is not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tasks.evaluation.answering import Request, build_request, sampling_of
from tasks.evaluation.benchmarks.base import Benchmark, CodeBenchmark
from tasks.evaluation.benchmarks.registry import benchmark as find_benchmark
from tasks.evaluation.items import (
    BenchmarkMissingError,
    Item,
    data_sha256,
    require_files,
    select_items,
)
from tasks.evaluation.parameters import EvaluationParameters
from tasks.evaluation.requests import GenerationRequest, new_tokens, prompt_hash
from tasks.evaluation.sandbox import Probe


@dataclass(frozen=True)
class Plan:
    """One benchmark of this run: its items and requests, or the reason why it is not run."""

    benchmark: Benchmark
    shots: int
    reason: str | None = None
    items: Sequence[Item] = ()
    requests: Sequence[Request] = ()
    data_sha256: str | None = None
    prompt_hash: str | None = None
    sampling: Mapping[str, int | float | str] = field(default_factory=dict)


def make_plan(
    parameters: EvaluationParameters, name: str, root: Path, probed: Probe
) -> tuple[Plan, str | None]:
    """Items and requests of a benchmark, or why it is not run; and a note for the report."""
    benchmark = find_benchmark(name)
    sampling = sampling_of(benchmark, parameters)
    shots, note = benchmark.shots, None
    if parameters.shots is not None:
        shots = min(parameters.shots, benchmark.max_shots)
        if shots != parameters.shots:
            note = f"{name}: {parameters.shots} shots asked for, it takes at most {shots}"
    if isinstance(benchmark, CodeBenchmark) and probed.mode is None:
        reason = f"no sandbox for generated code: {probed.reason}"
        return Plan(benchmark, shots, reason, sampling=sampling), note
    try:
        require_files(root, benchmark.read_files())
        found = select_items(
            benchmark.items(root, benchmark.split), parameters.item_limit, parameters.seed
        )
        shots_for = benchmark.shots_for(root, shots)
    except BenchmarkMissingError as error:
        return Plan(benchmark, shots, str(error), sampling=sampling), note
    if not found:
        reason = f"no items in {benchmark.files[benchmark.split][0]}"
        return Plan(benchmark, shots, reason, sampling=sampling), note
    requests = [build_request(benchmark, item, shots_for(item), parameters) for item in found]
    digest = data_sha256(root, benchmark.read_files())
    asked = prompt_hash(requests)
    return Plan(benchmark, shots, None, found, requests, digest, asked, sampling), note


def with_length(plan: Plan, context_length: int) -> tuple[Plan, str | None]:
    """The plan with the tokens that an answer has at most, and a note if the model's context leaves
    fewer than the protocol; unchanged where nothing is generated."""
    asked = plan.requests[0] if plan.requests else None
    if not isinstance(asked, GenerationRequest):
        return plan, None
    length = new_tokens(asked, context_length)
    stated = replace(plan, sampling={**plan.sampling, "max_new_tokens": length})
    if length == asked.max_new_tokens:
        return stated, None
    return stated, (
        f"{plan.benchmark.name}: at most {length} tokens are generated, not "
        f"{asked.max_new_tokens}: half of the model's context of {context_length}"
    )
