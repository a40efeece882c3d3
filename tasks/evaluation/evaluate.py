"""The evaluation stage: benchmarks in, rows of results out, resumable after any kill.

Written to ``context.out``: ``results.json`` (rows), ``protocol.json`` (what each benchmark's rows
mean), ``items/<benchmark>.jsonl`` (every answer), ``logs/evaluation.json`` (times, device, mode of
the sandbox). Records stream to ``context.work/items`` as they are made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.context import StageContext, StageResult, atomic_write_json, atomic_write_text
from tasks.evaluation import sandbox
from tasks.evaluation.answering import Engine, answer_chunk, metrics_of
from tasks.evaluation.benchmarks.base import ChoiceBenchmark, CodeBenchmark
from tasks.evaluation.bubblewrap import Mode
from tasks.evaluation.journal import ItemJournal, Record
from tasks.evaluation.parameters import EvaluationParameters
from tasks.evaluation.plan import Plan, make_plan, with_length
from tasks.evaluation.rows import is_truncated, protocol_of, result_rows

# Items per chunk: the unit of batching and of resuming.
CHOICE_CHUNK, GENERATION_CHUNK, CODE_CHUNK = 64, 32, 4


def build_evaluation(
    parameters: EvaluationParameters,
    model_dir: Path,
    bench_root: Path,
    sample: bool,
    context: StageContext,
    engine: Engine | None = None,
) -> StageResult:
    """Evaluate the model in ``model_dir`` on the benchmarks under ``bench_root``.

    model_dir: checkpoint or exported folder (weights, config.json, tokenizer.model).
    sample: the benchmark items are the generated sample; every row carries it.
    engine: loaded from ``model_dir`` unless given.

    A benchmark whose files are absent, or a code benchmark without a sandbox, gives rows
    ``not run``. Raises BenchmarkDataError for files that are there and wrong, SandboxError for a
    sandbox that breaks under way; what was answered before is not asked again.
    """
    started = time.monotonic()
    probed = sandbox.probe(parameters.sandbox.limits())
    plans: list[Plan] = []
    notes: list[str] = []
    for listed in parameters.benchmarks:
        plan, note = make_plan(parameters, listed, bench_root, probed)
        plans.append(plan)
        notes += [note] if note else []
        if plan.reason:
            context.log.warning("%s: not run: %s", listed, plan.reason)
    if engine is None and any(plan.reason is None for plan in plans):
        engine = load_engine(parameters, model_dir)
    if engine is not None:
        lengths = [with_length(plan, engine.scorer.context_length) for plan in plans]
        plans = [plan for plan, _ in lengths]
        notes += [note for _, note in lengths if note]

    (context.out / "items").mkdir(parents=True, exist_ok=True)
    total = sum(len(plan.items) for plan in plans)
    rows: list[dict[str, Any]] = []
    protocols: dict[str, Any] = {}
    timings: dict[str, Any] = {}
    done = truncated = 0
    for plan in plans:
        name = plan.benchmark.name
        begun = time.monotonic()
        records: Sequence[Record] = ()
        if plan.reason is None:
            assert engine is not None
            journal, resumed = _run(parameters, plan, engine, probed.mode, context, done, total)
            records = journal.records
            atomic_write_text(
                context.out / "items" / f"{name}.jsonl",
                "".join(f"{line}\n" for line in journal.lines()),
            )
            seconds = time.monotonic() - begun
            timings[name] = {"seconds": seconds, "items": len(records), "resumed_items": resumed}
        done += len(plan.items)
        truncated += sum(is_truncated(record) for record in records)
        new_rows = result_rows(plan, records, metrics_of(plan.benchmark, parameters), sample)
        rows += new_rows
        protocols[name] = protocol_of(plan, records, parameters)
        unasked = sum("reason" in record for record in records)
        if unasked:
            notes.append(
                f"{name}: {unasked} of {len(records)} items counted as wrong: a choice is longer "
                "than the model's context"
            )
        values = {f"{name}.{row['metric']}": row["value"] for row in new_rows if records}
        if values:
            context.metrics(values, 0)
    atomic_write_json(context.out / "results.json", rows)
    atomic_write_json(context.out / "protocol.json", protocols)
    device = str(engine.model.output.weight.device) if engine and engine.model else "none"
    atomic_write_json(
        context.logs / "evaluation.json",
        {
            "benchmarks": timings,
            "seconds": time.monotonic() - started,
            "device": device,
            "sandbox": {"mode": probed.mode, "reason": probed.reason},
        },
    )
    return StageResult(
        counts={
            "benchmarks": sum(plan.reason is None for plan in plans),
            "not_run": sum(plan.reason is not None for plan in plans),
            "items": total,
            "truncated": truncated,
        },
        seeds={"evaluation": parameters.seed},
        reproducibility=_reproducibility(plans, device),
        notes=notes + [f"{p.benchmark.name}: not run: {p.reason}" for p in plans if p.reason],
    )


def _reproducibility(plans: Sequence[Plan], device: str) -> str:
    """The class of the whole artifact: that of its least certain rows."""
    bounds = []
    if device not in ("cpu", "none"):
        bounds.append("1e-4 per log-likelihood")
    if any(isinstance(plan.benchmark, CodeBenchmark) for plan in plans if plan.reason is None):
        bounds.append("a program near the time limit, or that draws at random, may end otherwise")
    return f"numeric: {'; '.join(bounds)}" if bounds else "bit"


def load_engine(parameters: EvaluationParameters, model_dir: Path) -> Engine:
    """The model of a folder on the GPU if there is one, and its tokenizer."""
    import torch

    from model.tokenizer import Tokenizer
    from model.weights import load_model
    from tasks.evaluation.scorer import Scorer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(model_dir, dtype=getattr(torch, parameters.precision), device=device)
    tokenizer = Tokenizer(model_dir / "tokenizer.model")
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"tokenizer.model has {tokenizer.vocab_size} pieces, the model has "
            f"{model.config.vocab_size} embeddings: they do not belong together"
        )
    return Engine(Scorer(model, parameters.token_budget), tokenizer, model)


def _run(
    parameters: EvaluationParameters,
    plan: Plan,
    engine: Engine,
    mode: Mode | None,
    context: StageContext,
    before: int,
    total: int,
) -> tuple[ItemJournal, int]:
    """Work off what the journal does not hold yet; gives the journal and the items it held."""
    name = plan.benchmark.name
    if isinstance(plan.benchmark, ChoiceBenchmark):
        chunk = CHOICE_CHUNK
    else:
        chunk = CODE_CHUNK if isinstance(plan.benchmark, CodeBenchmark) else GENERATION_CHUNK
    journal = ItemJournal(
        context.work / "items" / f"{name}.jsonl",
        {"prompt_hash": plan.prompt_hash, "data_sha256": plan.data_sha256},
        [item.id for item in plan.items],
        chunk,
    )
    resumed = len(journal.records)
    if resumed:
        context.log.info("%s: %d of %d items were done before", name, resumed, len(plan.items))
    for part in journal.remaining():
        items = [plan.items[index] for index in part]
        requests = [plan.requests[index] for index in part]
        journal.append(answer_chunk(plan.benchmark, items, requests, engine, parameters, mode))
        done = len(journal.records)
        context.progress((before + done) / total, f"{name} {done}/{len(plan.items)}")
    return journal, resumed
