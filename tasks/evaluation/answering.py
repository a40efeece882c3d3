"""One chunk of items to one record each: what the model answered and whether it was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.evaluation.benchmarks.base import (
    Benchmark,
    ChoiceBenchmark,
    CodeBenchmark,
    GenerationBenchmark,
    choice_predictions,
    pass_at_k,
)
from tasks.evaluation.bubblewrap import Mode
from tasks.evaluation.generation import Job, Sampling, generate_texts
from tasks.evaluation.items import BenchmarkDataError, Item
from tasks.evaluation.parameters import EvaluationParameters
from tasks.evaluation.requests import (
    ChoiceRequest,
    Fitted,
    GenerationRequest,
    TextEncoder,
    TokenPair,
    fit_choices,
    fit_prompt,
)
from tasks.evaluation.sandbox import run_program
from tasks.evaluation.scorer import Score

Request = ChoiceRequest | GenerationRequest

PASS_AT = (1, 10, 80, 100)  # the paper's tables have 1, 80 (MBPP) and 100 (HumanEval)
SANDBOX_WORKERS = 2


class PairScorer(Protocol):
    """What is needed of `scorer.Scorer`."""

    @property
    def context_length(self) -> int: ...

    def score(self, pairs: Sequence[TokenPair]) -> list[Score]: ...


@dataclass(frozen=True)
class Engine:
    """The model behind the answers."""

    scorer: PairScorer
    tokenizer: Any  # model.tokenizer.Tokenizer; a TextEncoder is enough for multiple choice
    model: Any  # model.llama.Llama; not used for multiple choice


def metrics_of(benchmark: Benchmark, parameters: EvaluationParameters) -> tuple[str, ...]:
    """Metrics that a run reports, the paper's first."""
    if isinstance(benchmark, CodeBenchmark):
        return tuple(f"pass@{k}" for k in PASS_AT if k <= parameters.code_samples)
    return benchmark.metrics


def sampling_of(
    benchmark: Benchmark, parameters: EvaluationParameters
) -> dict[str, int | float | str]:
    """How answers are drawn: what decides a figure beside the prompts, the data and the model.

    Likelihoods have a precision only, greedy texts temperature 0, programs the parameters' own.
    """
    drawn: dict[str, int | float | str] = {"precision": parameters.precision}
    if isinstance(benchmark, GenerationBenchmark):
        drawn["temperature"] = 0.0
    elif isinstance(benchmark, CodeBenchmark):
        drawn["temperature"] = parameters.code_temperature
        drawn["top_p"] = parameters.code_top_p
        drawn["samples"] = parameters.code_samples
    return drawn


def build_request(
    benchmark: Benchmark, item: Item, shots: tuple[str, ...], parameters: EvaluationParameters
) -> Request:
    """The request of one item, its generation length capped by the parameters."""
    assert isinstance(benchmark, ChoiceBenchmark | GenerationBenchmark | CodeBenchmark)
    request = benchmark.request(item, shots)
    if isinstance(request, ChoiceRequest) or parameters.max_new_tokens is None:
        return request
    length = min(request.max_new_tokens, parameters.max_new_tokens)
    return GenerationRequest(request.item_id, request.prompt, request.stop, length)


def answer_chunk(
    benchmark: Benchmark,
    items: Sequence[Item],
    requests: Sequence[Request],
    engine: Engine,
    parameters: EvaluationParameters,
    sandbox: Mode | None,
) -> list[dict[str, Any]]:
    """Records in the order of ``items``. Each has ``id``, ``values`` (metric -> number from 0 to
    1), ``shots_dropped``, ``tokens_cut``, and what the answer was, or the ``reason`` why the item
    could not be asked (it is wrong then)."""
    if isinstance(benchmark, ChoiceBenchmark):
        choices = [request for request in requests if isinstance(request, ChoiceRequest)]
        assert len(choices) == len(items)
        return answer_choices(benchmark, items, choices, engine.scorer, engine.tokenizer)
    prompts = [request for request in requests if isinstance(request, GenerationRequest)]
    assert len(prompts) == len(items)
    if isinstance(benchmark, GenerationBenchmark):
        return _answer_generation(benchmark, items, prompts, engine, parameters)
    assert isinstance(benchmark, CodeBenchmark) and sandbox is not None
    return _answer_code(benchmark, items, prompts, engine, parameters, sandbox)


def answer_choices(
    benchmark: ChoiceBenchmark,
    items: Sequence[Item],
    requests: Sequence[ChoiceRequest],
    scorer: PairScorer,
    tokenizer: TextEncoder,
) -> list[dict[str, Any]]:
    """Multiple choice: likelihoods, and the prediction under each of the benchmark's rules."""
    pairs: list[TokenPair] = []
    fits: list[Fitted] = []
    for request in requests:
        own, fitted = fit_choices(tokenizer, request, scorer.context_length)
        pairs += own
        fits.append(fitted)
    scores = iter(scorer.score(pairs))
    records = []
    record: dict[str, Any]
    for item, request, fitted in zip(items, requests, fits, strict=True):
        if item.gold is None:
            raise BenchmarkDataError(f"{benchmark.name}: item {item.id} has no label")
        if fitted.reason is not None:
            # It stays in the mean: leaving out what a model cannot read would flatter it.
            record = {"id": item.id, "gold": item.gold, "reason": fitted.reason}
            values = dict.fromkeys(benchmark.metrics, 0.0)
            records.append({**record, "values": values, **_fit_record(fitted)})
            continue
        count = len(request.choices)
        logprobs = [next(scores).logprob for _ in range(count)]
        base = None
        if request.unconditional is not None:
            base = [next(scores).logprob for _ in range(count)]
        characters = [choice.characters for choice in request.choices]
        predictions = choice_predictions(logprobs, characters, base)
        record = {
            "id": item.id,
            "gold": item.gold,
            "logprobs": logprobs,
            "characters": characters,
            "predictions": {metric: predictions[metric] for metric in benchmark.metrics},
            "values": {m: float(predictions[m] == item.gold) for m in benchmark.metrics},
            **_fit_record(fitted),
        }
        if base is not None:
            record["unconditional"] = base
        records.append(record)
    return records


def _answer_generation(
    benchmark: GenerationBenchmark,
    items: Sequence[Item],
    requests: Sequence[GenerationRequest],
    engine: Engine,
    parameters: EvaluationParameters,
) -> list[dict[str, Any]]:
    texts, fits = _generate(requests, engine, parameters, Sampling(), samples=1)
    records = []
    for item, generated, fitted in zip(items, texts, fits, strict=True):
        answer = benchmark.answer(generated[0])
        records.append(
            {
                "id": item.id,
                "generation": generated[0],
                "answer": answer,
                "values": {"exact_match": float(benchmark.correct(answer, item))},
                **_fit_record(fitted),
            }
        )
    return records


def _answer_code(
    benchmark: CodeBenchmark,
    items: Sequence[Item],
    requests: Sequence[GenerationRequest],
    engine: Engine,
    parameters: EvaluationParameters,
    sandbox: Mode,
) -> list[dict[str, Any]]:
    sampling = Sampling(parameters.code_temperature, parameters.code_top_p, parameters.seed)
    samples = parameters.code_samples
    texts, fits = _generate(requests, engine, parameters, sampling, samples)
    limits = parameters.sandbox.limits()
    programs = [
        benchmark.program(item, text)
        for item, own in zip(items, texts, strict=True)
        for text in own
    ]
    with ThreadPoolExecutor(SANDBOX_WORKERS) as pool:
        outcomes = list(pool.map(lambda text: run_program(text, limits, sandbox), programs))
    records = []
    for number, (item, own, fitted) in enumerate(zip(items, texts, fits, strict=True)):
        judged = outcomes[number * samples : (number + 1) * samples]
        verdicts = [outcome.verdict for outcome in judged]
        passed = verdicts.count("passed")
        records.append(
            {
                "id": item.id,
                "generations": own,
                "verdicts": verdicts,
                "details": [outcome.detail for outcome in judged],
                "values": {
                    metric: pass_at_k(samples, passed, int(metric.removeprefix("pass@")))
                    for metric in metrics_of(benchmark, parameters)
                },
                **_fit_record(fitted),
            }
        )
    return records


def _generate(
    requests: Sequence[GenerationRequest],
    engine: Engine,
    parameters: EvaluationParameters,
    sampling: Sampling,
    samples: int,
) -> tuple[list[list[str]], list[Fitted]]:
    """Texts of every request (``samples`` each), and how its prompt was made to fit."""
    jobs: list[Job] = []
    fits: list[Fitted] = []
    lengths: set[int] = set()
    for request in requests:
        tokens, length, fitted = fit_prompt(engine.tokenizer, request, engine.scorer.context_length)
        jobs += [Job(request.item_id, tuple(tokens), sample) for sample in range(samples)]
        fits.append(fitted)
        lengths.add(length)
    assert len(lengths) == 1, "one benchmark has one generation length"
    texts = generate_texts(
        engine.model,
        engine.tokenizer,
        jobs,
        lengths.pop(),
        requests[0].stop,
        sampling,
        parameters.token_budget,
    )
    return [texts[start : start + samples] for start in range(0, len(texts), samples)], fits


def _fit_record(fitted: Fitted) -> Mapping[str, int]:
    return {"shots_dropped": fitted.shots_dropped, "tokens_cut": fitted.tokens_cut}
