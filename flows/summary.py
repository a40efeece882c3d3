"""What a pipeline run made, in one table: for the terminal, the flow run and MLflow."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from rich.table import Table
from sqlalchemy import select

from registry import emissions, lineage, outbox, runs
from registry.artifacts import ArtifactRef
from registry.contamination import contamination, share_of, shown
from registry.database import Registry, open_registry
from registry.manifest import ref_of
from registry.schema import Emission, Run
from registry.settings import Settings
from tasks.context import atomic_write_json, atomic_write_text
from tasks.runner import Workplace

if TYPE_CHECKING:
    from flows.data import DataFolder
    from flows.finetuning import Finetuned
    from flows.parameters import PipelineConfig
    from flows.pretraining import Trained
    from flows.promotion import PromotionOutcome
    from flows.tokenizer import Tokenized


class PipelineSummary(BaseModel):
    """Figures of one pipeline run; every one of them is in an artifact or a registry row.

    kwh: IT energy of this run's attempts, before PUE. tco2eq: with PUE and the intensity of the
    parameters (the paper's 1.1 and 0.385 kg/kWh unless set otherwise). model_kwh, model_tco2eq: of
    every attempt, in any run, at the promoted model and at what it was made from.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    preset: str
    sample: bool
    documents: dict[str, dict[str, int]]
    mixture: dict[str, float]
    missing: list[str]
    vocabulary: int
    train_tokens: int
    training: dict[str, dict[str, Any]]
    validation_loss: dict[str, float]
    evaluations: list[dict[str, Any]]
    stages: list[dict[str, str]]
    kwh: float
    tco2eq: float
    model_kwh: float
    model_tco2eq: float
    verdict: dict[str, Any]
    notes: list[str]

    def tables(self) -> list[Table]:
        """The summary for a terminal."""
        data = Table(title="Corpus" + (" (sample)" if self.sample else ""))
        for name in ("source", "documents", "held out", "tokens", "share", "validation loss"):
            data.add_column(name, justify="left" if name == "source" else "right")
        for source, row in self.documents.items():
            data.add_row(
                source,
                f"{row['train']:,}",
                f"{row['validation']:,}",
                f"{row['tokens']:,}",
                f"{100 * self.mixture.get(source, 0):.1f} %",
                f"{self.validation_loss[source]:.3f}" if source in self.validation_loss else "",
            )
        results = Table(title="Run")
        results.add_column("what")
        results.add_column("value", justify="right")
        for what, figure in self._rows():
            results.add_row(what, figure)
        scores = Table(title="Evaluation" + (" (sample items)" if self.sample else ""))
        roles = list(dict.fromkeys(row["model"] for row in self.evaluations))
        for name in ("benchmark", "metric", "n", "contaminated", *roles):
            scores.add_column(name, justify="left" if name in ("benchmark", "metric") else "right")
        for cells in self._scores(roles):
            scores.add_row(*cells)
        return [data, scores, results]

    def markdown(self) -> str:
        """The summary as an artifact of the flow run."""
        lines = ["| what | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in self._rows()]
        roles = list(dict.fromkeys(row["model"] for row in self.evaluations))
        lines += ["", f"| benchmark | metric | n | contaminated | {' | '.join(roles)} |"]
        lines.append("|---" * (4 + len(roles)) + "|")
        lines += [f"| {' | '.join(cells)} |" for cells in self._scores(roles)]
        return "\n".join(lines + ["", *[f"- {note}" for note in self.notes]])

    def _scores(self, roles: list[str]) -> list[list[str]]:
        """Benchmark, metric, items, share of contaminated items, and one cell per model, in percent
        with standard error."""
        cells: dict[tuple[str, str, str, str], dict[str, str]] = {}
        for row in self.evaluations:
            ran = row["status"] == "ok"
            n = str(row["n"]) if ran else ""
            key = (row["benchmark"], row["metric"], n, str(row.get("contaminated", "")))
            error = f" ± {100 * row['stderr']:.1f}" if row.get("stderr") is not None else ""
            cells.setdefault(key, {})[row["model"]] = (
                f"{100 * row['value']:.1f}{error}" if ran else f"not run: {row['reason']}"
            )
        return [[*key, *(found.get(role, "") for role in roles)] for key, found in cells.items()]

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("preset", self.preset),
            ("vocabulary", f"{self.vocabulary:,}"),
            ("training tokens", f"{self.train_tokens:,}"),
        ]
        for role, figures in self.training.items():
            rows += [(f"{role}: {name}", str(value)) for name, value in figures.items()]
        rows += [
            ("this run", f"{self.kwh:.6f} kWh, {self.tco2eq:.2e} tCO2eq"),
            (
                "the model, all attempts",
                f"{self.model_kwh:.6f} kWh, {self.model_tco2eq:.2e} tCO2eq",
            ),
            (
                "promotion",
                f"{self.verdict['name']} version {self.verdict['version']}:"
                f" {self.verdict['verdict']}",
            ),
        ]
        if self.missing:
            rows.append(("missing sources", ", ".join(self.missing)))
        cached = sum(1 for stage in self.stages if stage["status"] == "cached")
        rows.append(("stages", f"{len(self.stages)}, {cached} cached"))
        return rows


def summarise(
    place: Workplace,
    run_id: str,
    config: PipelineConfig,
    data: DataFolder,
    corpus: ArtifactRef,
    tokenized: Tokenized,
    base: Trained,
    tuned: Finetuned,
    evaluations: dict[str, ArtifactRef],
    verdict: PromotionOutcome,
) -> PipelineSummary:
    """Collect the figures from artifacts and registry, store them, queue them for MLflow."""
    tokens = _json(place, tokenized.tokens, "tokens.json")
    mixture = _json(place, corpus, "mixture.json")
    documents = {
        source: {
            "train": counts["documents"],
            "validation": tokens["splits"]["validation"].get(source, {}).get("documents", 0),
            "tokens": counts["tokens"],
        }
        for source, counts in tokens["splits"]["train"].items()
    }
    checked = contamination(place.registry, tuned.model.key)
    rows = [
        {
            **row,
            "model": role,
            "contaminated": shown(share_of(checked, row["benchmark"], row.get("data_sha256"))),
        }
        for role, ref in evaluations.items()
        for row in _json(place, ref, "results.json")
        if row["status"] != "ok" or row["metric"] == _paper_metric(place, ref, row["benchmark"])
    ]
    totals = emissions.run_totals(place.registry, run_id)
    made_from = {row.key for row in lineage.ancestors(place.registry, tuned.model.key)}
    model_totals = emissions.sum_up(
        emissions.entries_of_recipes(place.registry, {tuned.model.key, *made_from})
    )
    stages = [
        {"stage": run.stage or "", "status": run.status, "flow": run.flow}
        for run in _runs_below(place.registry, run_id)
        if run.stage
    ]
    summary = PipelineSummary(
        run_id=run_id,
        preset=config.pretraining.preset,
        sample=data.sample,
        documents=documents,
        mixture=mixture["weights"],
        missing=mixture["missing"],
        vocabulary=tokens["vocab_size"],
        train_tokens=sum(row["tokens"] for row in documents.values()),
        training={
            "pretraining": _figures(place, base.checkpoint),
            "finetuning": _figures(place, tuned.checkpoint),
        },
        validation_loss={
            source: row["loss"]
            for source, row in _json(place, base.checkpoint, "summary.json")["validation"].items()
        },
        evaluations=rows,
        stages=stages,
        kwh=totals.kwh,
        tco2eq=totals.tco2eq,
        model_kwh=model_totals.kwh,
        model_tco2eq=model_totals.tco2eq,
        verdict=verdict.model_dump(mode="json"),
        notes=notes_of(place, corpus, tokenized, base, tuned),
    )
    _store(place, summary)
    return summary


def notes_of(
    place: Workplace, corpus: ArtifactRef, tokenized: Tokenized, base: Trained, tuned: Finetuned
) -> list[str]:
    """What each stage has to tell of its work, in the order of the chain."""
    sources = sorted(
        map(ref_of, lineage.ancestors(place.registry, corpus.key)), key=lambda ref: ref.stage
    )
    made = (*sources, corpus, tokenized.tokenizer, tokenized.tokens, base.checkpoint)
    return [
        f"{ref.stage}: {note}"
        for ref in (*made, tuned.instructions, tuned.checkpoint)
        for note in place.store.manifest(ref).notes
    ]


def report_folder(settings: Settings, run_id: str) -> Path:
    """Where a run's summary and card are kept."""
    return settings.home / "reports" / run_id


def load_summary(settings: Settings, prefect_flow_run_id: str) -> PipelineSummary:
    """The stored summary of a Prefect flow run."""
    registry = open_registry(settings)
    query = select(Run.id).where(Run.prefect_flow_run_id == prefect_flow_run_id)
    with registry.reading() as session:
        # A retried flow run has a record per try; the last one finished.
        run_id = session.scalars(query.order_by(Run.started_at.desc())).first()
    if run_id is None:
        raise ValueError(f"the registry knows no run of Prefect's flow run {prefect_flow_run_id}")
    path = report_folder(settings, run_id) / "summary.json"
    return PipelineSummary.model_validate_json(path.read_text(encoding="utf-8"))


def emissions_report(registry: Registry, run_id: str) -> dict[str, Any]:
    """Every attempt's ledger row under a run, failed ones included, and their sums."""
    columns = Emission.__table__.columns.keys()
    rows = emissions.entries_of_run(registry, run_id)
    return {
        "totals": emissions.sum_up(rows).model_dump(),
        "entries": [
            {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name in columns
                for value in (getattr(row, name),)
            }
            for row in rows
        ],
    }


def _runs_below(registry: Registry, run_id: str) -> list[Run]:
    found: list[Run] = []
    for run in reversed(runs.list_runs(registry, parent_id=run_id, limit=1000)):
        found += [run, *_runs_below(registry, run.id)]
    return found


def _store(place: Workplace, summary: PipelineSummary) -> None:
    from dashboards.card import render_card

    folder = report_folder(place.settings, summary.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_json(folder / "summary.json", summary.model_dump(mode="json"))
    atomic_write_json(folder / "emissions.json", emissions_report(place.registry, summary.run_id))
    atomic_write_text(folder / "card.html", render_card(place.registry, summary.run_id))
    relative = folder.relative_to(place.settings.home)
    with place.registry.session() as session:
        outbox.enqueue(
            session,
            topic="report",
            dedupe_key=f"report:{summary.run_id}",
            payload={
                "run_id": summary.run_id,
                "files": {
                    name: str(relative / name)
                    for name in ("summary.json", "emissions.json", "card.html")
                },
                "metrics": {"kwh": summary.kwh, "tco2eq": summary.tco2eq},
            },
        )


def _figures(place: Workplace, checkpoint: ArtifactRef) -> dict[str, Any]:
    """What the summary says of a training; the rest is in its artifact."""
    found = _json(place, checkpoint, "summary.json")
    timing = _json(place, checkpoint, "logs/training.json")
    shown = {
        "parameters": f"{found['parameters']:,}",
        "steps": f"{found['steps']:,}",
        "tokens": f"{found['tokens']:,}",
        "last loss": f"{found['loss']:.4f}",
    }
    if "tokens_per_s" in timing:
        shown["tokens/s"] = f"{timing['tokens_per_s']:,.0f}"
    for name in ("bad_steps", "rollbacks"):
        if found[name]:
            shown[name.replace("_", " ")] = str(found[name])
    return shown


def _paper_metric(place: Workplace, evaluation: ArtifactRef, benchmark: str) -> str:
    return str(_json(place, evaluation, "protocol.json")[benchmark]["paper_metric"])


def _json(place: Workplace, ref: ArtifactRef, name: str) -> Any:
    return json.loads((place.store.path(ref) / name).read_text(encoding="utf-8"))
