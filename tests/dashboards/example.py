"""A small registry as a pipeline leaves it, hostile text included; made with the registry's API."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from registry import runs
from registry.artifacts import ArtifactRef, Kind, Store, recipe_key
from registry.database import Registry, upgrade
from registry.emissions import EmissionEntry, upsert_emissions
from registry.promotion import Facts, GatePolicy, promote
from registry.settings import Settings

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STEPS = 1200


@dataclass(frozen=True)
class Example:
    """The registry and the ids that tests ask for."""

    settings: Settings
    registry: Registry
    run_id: str
    sample_run_id: str
    refs: dict[str, ArtifactRef]


class _Builder:
    """Publishes artifacts and records runs one minute after another."""

    def __init__(self, registry: Registry, store: Store) -> None:
        self.registry, self.store = registry, store
        self.minute = 0

    def clock(self) -> datetime:
        """The next minute."""
        self.minute += 1
        return START + timedelta(minutes=self.minute)

    def flow(self, name: str, parent: str | None = None, **fields: Any) -> str:
        """A flow run under way."""
        return runs.start_run(
            self.registry, flow=name, parent_id=parent, user="ana", clock=self.clock, **fields
        )

    def end(self, run_id: str, status: str = "completed", **fields: Any) -> None:
        """End a run."""
        runs.finish_run(self.registry, run_id, status, clock=self.clock, **fields)

    def publish(
        self,
        kind: Kind,
        stage: str,
        files: Mapping[str, str],
        inputs: Mapping[str, ArtifactRef],
        run_id: str | None,
        sample: bool,
        counts: Mapping[str, Any] | None = None,
    ) -> ArtifactRef:
        """An artifact with these texts."""
        staging = self.store.new_staging()
        for name, text in files.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_text(text, encoding="utf-8")
        digests = {name: ref.digest for name, ref in inputs.items()}
        return self.store.publish(
            staging,
            key=recipe_key(stage, 1, {}, {"sample": sample}, digests),
            kind=kind,
            stage=stage,
            stage_version=1,
            parameters={"sample": sample},
            inputs=dict(inputs),
            libraries={"sentencepiece": "0.2.1"},
            counts=counts,
            environment={"python": "3.11.9", "git_commit": "c0ffee"},
            sample=sample,
            run_id=run_id,
        )

    def attempt(
        self,
        parent: str,
        flow: str,
        stage: str,
        status: str,
        *,
        key: str = "",
        error: str | None = None,
    ) -> str:
        """An attempt of a stage with its entry of the ledger; ``completed`` is left running."""
        run_id = runs.start_run(
            self.registry,
            flow=flow,
            stage=stage,
            parent_id=parent,
            recipe=key or "ab" * 32,
            user="ana",
            prefect_task_run_id=f"task-{stage}",
            clock=self.clock,
        )
        attempt = runs.get_run(self.registry, run_id).attempt
        if status != "completed":
            self.end(run_id, status, error=error)
        if status != "cached":
            upsert_emissions(self.registry, [_entry(run_id, attempt, stage, status, self.clock())])
        return run_id

    def stage(
        self,
        parent: str,
        flow: str,
        kind: Kind,
        stage: str,
        files: Mapping[str, str],
        inputs: Mapping[str, ArtifactRef],
        *,
        sample: bool = False,
        counts: Mapping[str, Any] | None = None,
    ) -> ArtifactRef:
        """A stage that completed, and what it made."""
        run_id = self.attempt(parent, flow, stage, "completed")
        ref = self.publish(kind, stage, files, inputs, run_id, sample, counts)
        self.end(run_id, artifact_key=ref.key)
        return ref


def build_example(home: Path) -> Example:
    """A real pipeline run with failed and lost attempts, and one on sample data."""
    settings = Settings(home=home)
    upgrade(settings.registry_url)
    registry = Registry(settings.registry_address)
    builder = _Builder(registry, Store(settings.store, registry))
    refs, run_id = _pipeline(builder, sample=False)
    sample_refs, sample_run_id = _pipeline(builder, sample=True)
    return Example(
        settings=settings,
        registry=registry,
        run_id=run_id,
        sample_run_id=sample_run_id,
        refs={**refs, **{f"sample-{name}": ref for name, ref in sample_refs.items()}},
    )


def _pipeline(builder: _Builder, *, sample: bool) -> tuple[dict[str, ArtifactRef], str]:
    top = builder.flow(
        "pipeline",
        parameters={"preset": "nano", "corpus": {"note": HOSTILE, "cap": 1000}},
        prefect_flow_run_id="flow-1",
        mlflow_run_id="0123abcd",
        git_commit="c0ffee",
    )
    preparation = builder.flow("preparation", top, prefect_flow_run_id="flow-2")

    def stage(parent: str, flow: str, kind: Kind, name: str, files: Any, **inputs: Any) -> Any:
        # Of the corpus' benchmarks, hellaswag was looked for, on the items that are evaluated.
        counts = {
            "contamination": {"hellaswag": 0.0133, "boolq": 0.5},
            "contamination_data": {"hellaswag": "a" * 64, "boolq": "b" * 64},
        }
        return builder.stage(
            parent,
            flow,
            kind,
            name,
            files,
            inputs,
            sample=sample,
            counts=counts if name == "corpus" else None,
        )

    fingerprints = "".join(
        json.dumps({"path": f"c4/{n}.json.gz", "size": 1000 + n, "sha256": f"{n:064x}"}) + "\n"
        for n in range(30)
    )
    raw = stage(preparation, "preparation", Kind.RAW, "raw.c4", {"files.jsonl": fingerprints})
    corpus = stage(
        preparation,
        "preparation",
        Kind.DOCUMENTS,
        "corpus",
        {
            "funnel.json": json.dumps(_funnel()),
            "funnel_shards.json": json.dumps([{"shard": 7} | row for row in _funnel()]),
            "mixture.json": json.dumps(_mixture()),
        },
        raw=raw,
    )
    builder.end(preparation)
    flow = builder.flow("pretraining", top, prefect_flow_run_id="flow-3")
    if not sample:
        builder.attempt(flow, "pretraining", "pretraining", "lost", error="its process is gone")
        builder.attempt(flow, "pretraining", "pretraining", "failed", error=f"Boom: {HOSTILE}")
        runs.record_event(builder.registry, "note", {"text": HOSTILE}, run_id=flow)
    summary = {
        "steps": STEPS,
        "tokens": STEPS * 4096,
        "loss": 3.1,
        "bad_steps": 0,
        "validation": {"c4": {"loss": 3.2, "tokens": 8192}},
    }
    checkpoint = stage(
        flow,
        "pretraining",
        Kind.CHECKPOINT,
        "pretraining",
        {
            "model.safetensors": "w",
            "summary.json": json.dumps(summary),
            "logs/metrics.jsonl": _metrics(),
        },
        corpus=corpus,
    )
    builder.end(flow)
    model = stage(top, "pipeline", Kind.MODEL, "export", {"config.json": "{}"}, c=checkpoint)
    scores = _scores(sample)
    evaluation = stage(
        top,
        "pipeline",
        Kind.EVALUATION,
        "evaluation",
        {"results.json": json.dumps(scores)},
        model=model,
    )
    with builder.registry.session() as session:
        runs.record_evaluations(session, artifact=evaluation, model=model, rows=scores)
    promote(
        builder.registry,
        name="arriero-nano" + ("-sample" if sample else ""),
        model=model,
        policy=GatePolicy(minimum={"hellaswag": 0.2}),
        facts=Facts(lineage_problems=(), licenses={"ODC-By": 100}),
        decided_by="ana",
        clock=builder.clock,
    )
    cached = builder.attempt(top, "pipeline", "tokenizer", "cached")
    assert cached
    builder.end(top)
    refs = {"raw": raw, "corpus": corpus, "checkpoint": checkpoint, "model": model}
    return {**refs, "evaluation": evaluation}, top


def _funnel() -> list[dict[str, Any]]:
    def step(source: str, name: str, before: int, after: int, **rejected: int) -> dict[str, Any]:
        return {
            "source": source,
            "filter": name,
            "documents_in": before,
            "documents_out": after,
            "characters_in": before * 900,
            "characters_out": after * 900,
            "bytes_in": before * 910,
            "bytes_out": after * 910,
            "rejected": rejected,
        }

    return [
        step("commoncrawl", "read", 1503, 679, **{"HTTP status 404": 424, HOSTILE: 400}),
        step("commoncrawl", "language", 679, 94, uncertain=500, **{"language de": 85}),
        step("c4", "read", 1040, 1040),
        step("c4", "exact duplicate", 1040, 1012, **{"same text in this source": 28}),
    ]


def _mixture() -> dict[str, Any]:
    return {
        "weights": {"commoncrawl": 0.8, "c4": 0.2},
        "table1": {"commoncrawl": 0.67, "c4": 0.15, "github": 0.045},
        "missing": ["github"],
        "renormalised": True,
    }


def _metrics() -> str:
    lines: list[str] = []
    for step in range(1, STEPS + 1):
        loss: float | None = 3 + 5.3 * math.exp(-step / 150) + 0.02 * math.sin(step)
        if step == 600:
            loss = None  # the engine's way to write a number that is not finite
        values = {"loss": loss, "learning_rate": 3e-4 * min(1, step / 100), "tokens": step * 4096}
        lines.append(json.dumps({"step": step, **values, "tokens_per_s": 8123.4}))
        if step % 300 == 0:
            lines.append(json.dumps({"step": step, "validation_loss.c4": 3.2 + 300 / step}))
    return "\n".join(lines) + '\n{"step": 1201, "lo'  # cut off by a kill


def _scores(sample: bool) -> list[dict[str, Any]]:
    fields = {"stderr": 0.03, "n": 200, "shots": 0, "sample": sample, "data_sha256": "a" * 64}
    reason = f"no sandbox {HOSTILE}"
    return [
        {"benchmark": "hellaswag", "metric": "acc_norm", "value": 0.2625, **fields},
        {"benchmark": "boolq", "metric": "acc_answer", "value": 0.5175, **fields},
        {"benchmark": "triviaqa", "metric": "exact_match", "value": 0.0, **fields, "shots": 5},
        {
            "benchmark": "humaneval",
            "metric": "pass@1",
            "status": "not run",
            "reason": reason,
            "sample": sample,
        },
    ]


def _entry(run_id: str, attempt: int, stage: str, status: str, at: datetime) -> EmissionEntry:
    note = "meter x PUE 1.1; 60 % of it from counters"
    return EmissionEntry(
        entry_id=run_id,
        run_id=run_id,
        stage=stage,
        attempt=attempt,
        status=status,  # type: ignore[arg-type]
        node="node-1",
        began_at=at,
        ended_at=at + timedelta(seconds=90),
        wall_s=90,
        kwh_cpu=0.0012,
        kwh_ram=0.0003,
        kwh_total=0.0015,
        pue=1.1,
        intensity_kg_per_kwh=0.385,
        intensity_source="paper",
        method="counters and models",
        measured_share=0.6,
        details={
            "methods": {
                "paper": {"kwh": None, "tco2eq_paper_intensity": None, "tco2eq": None, "note": "-"},
                "measured": _method(0.00165, note),
                "full": _method(0.0018, "with idle"),
            }
        },
    )


def _method(kwh: float, note: str) -> dict[str, Any]:
    carbon = kwh * 0.385 / 1000
    return {"kwh": kwh, "tco2eq_paper_intensity": carbon, "tco2eq": carbon, "note": note}
