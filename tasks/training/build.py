"""Builders of the training stages: resolve the run, train in ``work``, hand over the result.

Everything resumable lives in ``context.work`` (a folder of the recipe), so a retry, another flow
run or a run after a power cut finds its own checkpoints there.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from model.config import ModelConfig
from model.presets import preset
from registry.work import KEEP
from tasks.context import StageContext, StageResult, atomic_write_json, atomic_write_text
from tasks.tokens.order import TokenOrder
from tasks.training.cluster import agents_of
from tasks.training.engine.config import ConfigError, EngineConfig
from tasks.training.engine.metrics import MFU_FORMULA, read_lines
from tasks.training.launch import launch
from tasks.training.memory import check_memory
from tasks.training.parameters import (
    FinetuningParameters,
    PretrainingParameters,
    TrainingParameters,
)

# What the trainer decides about its own run (engine/guards.py, engine/checkpoint.py), by the name
# in events.jsonl, and how the registry calls it.
DECISIONS = {
    "step_skipped": "step-skipped",
    "rolling_back": "rolling-back",
    "rolled_back": "rolled-back",
    "gave_up": "gave-up",
    "checkpoint_refused": "checkpoint-refused",
    "checkpoint_failed": "checkpoint-failed",
}


def build_pretraining(
    parameters: PretrainingParameters, tokens: Path, tokenizer: Path, context: StageContext
) -> StageResult:
    """Train a model on a tokens artifact; ``context.out`` becomes a checkpoint artifact.

    Raises:
        ConfigError: the parameters do not fit the tokens or each other.
        TrainerPreempted, TrainerFailed: see ``tasks.training.launch``.
    """
    summary = json.loads((tokens / "tokens.json").read_text(encoding="utf-8"))
    notes: list[str] = []
    model = parameters.shape or preset(parameters.preset)
    if model.vocab_size != summary["vocab_size"]:
        notes.append(
            f"vocabulary of the model set to the tokenizer's {summary['vocab_size']} "
            f"(the shape has {model.vocab_size})"
        )
        model = model.model_copy(update={"vocab_size": int(summary["vocab_size"])})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said by order.dropped below, in the report
            order = TokenOrder(tokens, "train", context=parameters.context, seed=parameters.seed)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if order.dropped:
        notes.append(
            f"no whole window of {parameters.context + 1} tokens in {', '.join(order.dropped)}: "
            "left out, the mixture renormalised"
        )
    config = resolve(
        parameters,
        mode="pretrain",
        model=model,
        data=tokens,
        work=context.work,
        steps=parameters.steps,
        context=parameters.context,
        mask_documents=parameters.mask_documents,
        skip_batches=parameters.skip_batches,
    )
    result = train(config, tokenizer / "tokenizer.model", context, notes)
    skipped = read_summary(context.out)["skipped_batches"]
    done = TokenOrder(
        tokens, "train", context=parameters.context, seed=parameters.seed, skips=skipped
    )
    epochs = done.epochs(parameters.steps, parameters.global_batch)
    result.counts["epochs"] = {source: round(n, 6) for source, n in epochs.items()}
    return result


def build_finetuning(
    parameters: FinetuningParameters, checkpoint: Path, instructions: Path, context: StageContext
) -> StageResult:
    """Continue a checkpoint on packed instructions; ``context.out`` becomes a checkpoint artifact.

    Raises: as ``build_pretraining``.
    """
    model = ModelConfig.model_validate_json((checkpoint / "config.json").read_text("utf-8"))
    rows, width = np.load(instructions / "input_ids.npy", mmap_mode="r").shape
    steps = max(1, math.ceil(rows * parameters.epochs / parameters.global_batch))
    notes: list[str] = []
    warmup = parameters.warmup_steps
    if warmup >= steps:
        warmup = steps - 1
        notes.append(
            f"warm-up of {parameters.warmup_steps} steps cut to {warmup}: the run has {steps}"
        )
    config = resolve(
        parameters,
        mode="finetune",
        model=model,
        data=instructions,
        work=context.work,
        init_from=checkpoint,
        steps=steps,
        context=width - 1,
        schedule={"warmup_steps": warmup, "final_ratio": parameters.final_ratio},
    )
    result = train(config, checkpoint / "tokenizer.model", context, notes)
    result.counts["epochs"] = round(steps * parameters.global_batch / rows, 6)
    return result


def resolve(parameters: TrainingParameters, **run: Any) -> EngineConfig:
    """The engine's configuration of a stage's parameters.

    Raises:
        ConfigError: naming everything that does not fit.
    """
    optimizer = {"learning_rate", "beta1", "beta2", "eps", "weight_decay", "clip"}
    same = {
        "global_batch",
        "micro_batch",
        "world",
        "nodes",
        "threads",
        "seed",
        "precision",
        "device",
        "strategy",
        "shard",
        "recompute",
        "compile",
        "spike_sigmas",
        "checkpoint_seconds",
        "max_bad_steps",
        "max_rollbacks",
        "checkpoint_every",
        "keep_last",
        "keep_every",
        "log_every",
        "validate_every",
        "validation_tokens",
        "grace_seconds",
        "peak_flops",
    }
    schedule = {
        "warmup_steps": parameters.warmup_steps,
        "final_ratio": parameters.final_ratio,
    }
    values = {
        **parameters.model_dump(include=same),
        "optimizer": parameters.model_dump(include=optimizer),
        "schedule": schedule,
        **run,
    }
    try:
        return EngineConfig(**values)
    except ValidationError as error:
        found = [
            ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"])))
            for problem in error.errors()
        ]
        raise ConfigError("; ".join(found)) from error


def train(
    config: EngineConfig, tokenizer: Path, context: StageContext, notes: list[str]
) -> StageResult:
    """Run the trainer and copy its result to ``context.out``.

    Weights, shape, tokenizer and summary are byte-identical for identical training; whatever has
    a time or a path in it goes to ``out/logs``. The checkpoints stay in ``work``: until the
    artifact is published a retry needs them, and only the store's owner knows when it is. It
    removes them then, unless some were asked for (``keep_every``).

    Raises: see ``tasks.training.memory.check_memory`` and ``tasks.training.launch.launch``.
    """
    check_memory(config)
    keep = context.work / KEEP
    if config.keep_every:
        keep.touch()
    else:
        keep.unlink(missing_ok=True)
    run_json, log_path = context.work / "run.json", context.work / "trainer.log"
    atomic_write_text(run_json, config.model_dump_json(indent=2) + "\n")
    launch(
        run_json,
        agents=agents_of(config),
        log_path=log_path,
        on_metrics=context.metrics,
        on_progress=context.progress,
        on_events=lambda lines: context.events(decisions(lines)),
    )
    for name in ("model.safetensors", "config.json", "summary.json"):
        shutil.copyfile(context.work / "final" / name, context.out / name)
    shutil.copyfile(tokenizer, context.out / "tokenizer.model")
    for path in (run_json, log_path, context.work / "metrics.jsonl", context.work / "events.jsonl"):
        shutil.copyfile(path, context.logs / path.name)
    formula = MFU_FORMULA if config.peak_flops else None  # no recipe field, so not in the summary
    timing = {**timings(context.work), "mfu_formula": formula}
    atomic_write_json(context.logs / "training.json", timing)
    summary = read_summary(context.out)
    layouts = sessions(context.work)
    if summary["bad_steps"] or summary["rollbacks"]:
        notes.append(
            f"{summary['bad_steps']} steps were skipped because their numbers were bad; "
            f"{summary['rollbacks']} roll-backs, batches passed over: {summary['skipped_batches']}"
        )
    names = ("steps", "tokens", "parameters", "bad_steps", "rollbacks", "world")
    return StageResult(
        counts={name: summary[name] for name in names},
        seeds={"seed": config.seed},
        reproducibility=reproducibility(config, layouts, notes),
        notes=notes,
    )


def sessions(work: Path) -> list[dict[str, Any]]:
    """How each session that the result rests on was laid out: its first step, processes, ...

    A session that was taken back as a whole by the next one (it wrote no checkpoint) is left out.
    """
    found: list[dict[str, Any]] = []
    for event in read_lines(work / "events.jsonl"):
        if event["event"] in ("started", "resumed") and "layout" in event:
            found = [session for session in found if session["step"] < event["step"]]
            found.append({"step": max(event["step"], 0), **event["layout"]})
    return found


def reproducibility(config: EngineConfig, layouts: list[dict[str, Any]], notes: list[str]) -> str:
    """The class of a result; a run that went on in another layout is noted with its steps."""
    different = {
        name
        for name in (layouts[0] if layouts else ())
        if len({str(session[name]) for session in layouts}) > 1
    } - {"step", "recompute"}
    if different:
        said = "; ".join(
            f"from step {session['step']} "
            + ", ".join(f"{n} {session[n]}" for n in sorted(different))
            for session in layouts
        )
        notes.append(f"the run went on in another layout: {said}")
    compiled = config.compile or any(session["compile"] for session in layouts)
    if config.device != "cpu" or compiled or (different and config.precision == "bf16"):
        return "numeric: loss within 1e-2"
    return "numeric: loss within 2e-6 over 20 steps of each change" if different else "bit"


def decisions(lines: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """``(kind, payload)`` of those lines of events.jsonl that are decisions; ``at`` tells when."""
    return [
        (DECISIONS[line["event"]], {name: value for name, value in line.items() if name != "event"})
        for line in lines
        if line["event"] in DECISIONS
    ]


def read_summary(directory: Path) -> dict[str, Any]:
    """``summary.json`` of a checkpoint artifact."""
    summary: dict[str, Any] = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return summary


def timings(work: Path) -> dict[str, Any]:
    """Speed over all sessions: seconds and tokens of the steps that count, sessions, goodput.

    goodput: seconds in steps that count over the wall time from the first start to the end,
    waiting between attempts included.
    """
    steps = [line for line in read_lines(work / "metrics.jsonl") if "step_seconds" in line]
    events = read_lines(work / "events.jsonl")
    seconds = sum(line["step_seconds"] for line in steps)
    found: dict[str, Any] = {
        "step_seconds": seconds,
        "steps_logged": len(steps),
        "sessions": sum(event["event"] in ("started", "resumed") for event in events),
        "events": len(events),
    }
    # A power cut may have taken the lines of either file; the result is whole without them.
    if steps:
        found["tokens_per_s"] = steps[-1]["tokens_per_s"]
        found["memory_mb"] = steps[-1]["memory_mb"]
        found["first_step_seconds"] = steps[0]["step_seconds"]
    if events:
        wall = max(events[-1]["at"] - events[0]["at"], 1e-9)
        found["wall_seconds"] = wall
        found["goodput"] = min(seconds / wall, 1.0)
    return found
