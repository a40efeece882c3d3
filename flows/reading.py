"""Reports behind the reading commands of ``arriero``: plain values, and how to show them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from sqlalchemy import select

from flows import stack
from flows.shown import shown
from registry import emissions, lineage, runs
from registry.artifacts import Kind
from registry.schema import ModelAlias, ModelVersion
from registry.settings import load_settings
from tasks.runner import Workplace, open_workplace


def status_report() -> dict[str, Any]:
    """Services, last flow runs, champions, energy and carbon of everything so far."""
    place = open_workplace()
    running = stack.load_stack(load_settings())
    recent = runs.list_runs(place.registry, limit=10, top_level=True)
    totals = [emissions.run_totals(place.registry, run.id) for run in recent]
    return {
        "services": {
            name: running.url(name) if running else None
            for name in ("prefect", "mlflow", "dashboard")
        },
        "runs": [
            {
                "id": run.id,
                "flow": run.flow,
                "status": run.status,
                "user": run.user,
                "started_at": run.started_at.isoformat(),
                "ended_at": run.ended_at.isoformat() if run.ended_at else None,
                "kwh": total.kwh,
                "tco2eq": total.tco2eq,
                "error": run.error,
            }
            for run, total in zip(recent, totals, strict=True)
        ],
        "champions": _champions(place),
    }


def _champions(place: Workplace) -> list[dict[str, Any]]:
    query = select(ModelVersion).join(
        ModelAlias,
        (ModelAlias.name == ModelVersion.name) & (ModelAlias.version == ModelVersion.version),
    )
    with place.registry.reading() as session:
        return [
            {"name": row.name, "version": row.version, "digest": row.digest}
            for row in session.scalars(query.order_by(ModelVersion.name))
        ]


def render_status(report: dict[str, Any]) -> Table:
    """Runs as a table, services and champions in its caption."""
    table = Table(title="Flow runs")
    for name in ("flow", "status", "started", "kWh", "tCO2eq", "id"):
        table.add_column(name)
    for run in report["runs"]:
        table.add_row(
            run["flow"],
            run["status"],
            run["started_at"][:19],
            f"{run['kwh']:.5f}",
            f"{run['tco2eq']:.2e}",
            run["id"][:8],
        )
    services = [f"{name} {url}" for name, url in report["services"].items() if url]
    names = [
        f"{c['name']} version {c['version']} ({c['digest'][:12]})" for c in report["champions"]
    ]
    table.caption = "\n".join(
        [
            "services: " + (", ".join(services) or "not running (arriero up)"),
            "champion: " + (", ".join(names) or "none yet"),
        ]
    )
    return table


def lineage_report(reference: str) -> tuple[dict[str, Any], str]:
    """The tree of an artifact as a value and as text."""
    place = open_workplace()
    tree = lineage.lineage_tree(place.registry, place.store, reference)
    return tree.model_dump(mode="json"), lineage.render(tree)


def batch_report(reference: str, step: int) -> dict[str, Any]:
    """Documents of one training batch, the run's skipped batches honoured."""
    from tasks.tokens.show import describe_batch

    place = open_workplace()
    checkpoint = lineage.resolve(
        place.registry, reference, kind=Kind.CHECKPOINT, stage="pretraining"
    )
    manifest = place.store.manifest(checkpoint)
    inputs: dict[str, Path] = {}
    for name in ("tokens", "tokenizer"):
        found = place.store.lookup(manifest.input_keys[name])
        if found is None:
            raise ValueError(
                f"checkpoint {checkpoint.digest[:12]}: its {name} are no longer in the store; run"
                " the pipeline again to make them"
            )
        inputs[name] = place.store.path(found)
    parameters = manifest.parameters
    if not 1 <= step <= parameters["steps"]:
        raise ValueError(f"step {step}: the run has steps 1 to {parameters['steps']}")
    summary = json.loads((place.store.path(checkpoint) / "summary.json").read_text())
    rows = describe_batch(
        inputs["tokens"],
        inputs["tokenizer"],
        context=parameters["context"],
        seed=parameters["seed"],
        step=step - 1,
        global_batch=parameters["global_batch"],
        skips=summary.get("skipped_batches", parameters.get("skip_batches", ())),
    )
    return {
        "checkpoint": checkpoint.digest,
        "step": step,
        "rows": [
            {
                "row": row.row,
                "source": row.source,
                "documents": list(row.documents),
                "epoch": row.epoch,
                "text": row.text,
            }
            for row in rows
        ],
    }


def render_batch(report: dict[str, Any]) -> Table:
    """One line per row of the batch."""
    table = Table(title=f"Step {report['step']} of {report['checkpoint'][:12]}")
    for name in ("row", "source", "documents", "text"):
        table.add_column(name)
    for row in report["rows"]:
        table.add_row(
            str(row["row"]),
            row["source"],
            shown("\n".join(row["documents"][:3])),
            shown(row["text"][:120].replace("\n", " ")),
        )
    return table


def document_report(identity: str, corpus: str = "latest") -> dict[str, Any]:
    """Where a document came from, which rules it passed, or which one rejected it.

    Raises:
        ValueError: no corpus, or none of its sources has such a document.
    """
    from tasks.corpus.mixture import SOURCES
    from tasks.corpus.show import describe_document

    place = open_workplace()
    ref = lineage.resolve(place.registry, corpus, kind=Kind.DOCUMENTS, stage="corpus")
    inputs = place.store.manifest(ref).input_keys
    named = identity.partition(":")[0]
    # The id begins with the source; an address does not, so all are asked.
    for source in [named] if named in SOURCES else SOURCES:
        if source not in inputs:
            continue
        stages = [("corpus", place.store.path(ref))]
        key: str | None = inputs[source]
        while key is not None:
            made = place.store.lookup(key)
            if made is None:
                break  # collected; what is later in the chain can still be read
            stages.append((made.stage, place.store.path(made)))
            key = place.store.manifest(made).input_keys.get("pages")
        story = describe_document(identity, source, stages)
        if story is not None:
            return {"corpus": ref.digest, **asdict(story)}
    raise ValueError(
        f"no document or reject {identity!r} in the corpus {ref.digest[:12]}: give an id as in its"
        " Parquet files (source:...), or an address"
    )


def render_document(report: dict[str, Any]) -> Table:
    """A document's way, rule by rule."""
    table = Table(title=shown(f"{report['id']} ({report['fate']})"), show_header=False)
    place = f"{report['file']}, offset {report['offset']}" if report["file"] else "not recorded"
    table.add_row("file", shown(place))
    for name in ("source", "uri", "language", "license"):
        if report[name]:
            table.add_row(name, shown(str(report[name])))
    for rule in report["rules"]:
        word = "passed" if rule["passed"] else f"stopped here: {report['reason']}"
        table.add_row(shown(rule["filter"]), shown(word))
    table.add_row("text", shown(report["text"][:600]) or "not kept (see keep_rejected)")
    return table


def artifact_report(reference: str) -> dict[str, Any]:
    """Manifest of an artifact and the problems of its files."""
    place = open_workplace()
    ref = lineage.resolve(place.registry, reference)
    return {
        "artifact": ref.model_dump(mode="json"),
        "manifest": place.store.manifest(ref).model_dump(mode="json"),
        "problems": place.store.verify(ref),
    }


def render_artifact(report: dict[str, Any]) -> Table:
    """What an artifact is, was made from and holds."""
    manifest = report["manifest"]
    table = Table(title=f"{manifest['kind']} by {manifest['stage']}", show_header=False)
    table.add_row("digest", report["artifact"]["digest"])
    table.add_row("key", report["artifact"]["key"])
    table.add_row("made", f"{manifest['created_at']} (sample: {manifest['sample']})")
    for name, digest in manifest["inputs"].items():
        table.add_row(f"input {name}", digest)
    for name, entry in manifest["files"].items():
        table.add_row(shown(name), f"{entry['size']:,} bytes, sha256 {entry['sha256'][:16]}")
    table.add_row(
        "verified", shown("; ".join(report["problems"])) or "every file hashes to its manifest"
    )
    return table
