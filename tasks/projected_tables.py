"""Tables that MLflow shows of an artifact: an evaluation's results, a corpus's funnel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

EVALUATION = "evaluation.json"
FUNNEL = "funnel_table.json"


def log_evaluation_table(client: MlflowClient, run_id: str, folder: Path) -> dict[str, float]:
    """``results.json`` as a table; returns its values by benchmark and metric, for the metrics."""
    rows = json.loads((folder / "results.json").read_text("utf-8"))
    _log_table(client, run_id, EVALUATION, rows)
    return {
        f"{row['benchmark']}.{row['metric']}": row["value"] for row in rows if row["status"] == "ok"
    }


def log_funnel_table(client: MlflowClient, run_id: str, folder: Path) -> None:
    """``funnel.json`` as a table, a row for each source and filter; nothing where there is none."""
    path = folder / "funnel.json"
    if path.is_file():
        rows = json.loads(path.read_text("utf-8"))
        _log_table(client, run_id, FUNNEL, [funnel_row(row) for row in rows])


def funnel_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One filter's counts with its reasons as text."""
    reasons = sorted(row["rejected"].items(), key=lambda item: (-item[1], item[0]))
    units = ("documents", "characters", "bytes")
    counts = {f"{unit}_{side}": row[f"{unit}_{side}"] for unit in units for side in ("in", "out")}
    return {
        "source": row["source"],
        "filter": row["filter"],
        **counts,
        "rejected": ", ".join(f"{reason} ({count})" for reason, count in reasons),
    }


def _log_table(
    client: MlflowClient, run_id: str, name: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    # What `log_table` writes; that one appends, so a second delivery would double the rows.
    table = {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
    client.log_dict(run_id, table, name)
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": name, "type": "table"}]))
