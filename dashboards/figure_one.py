"""The paper's Figure 1 of our own runs: training loss over tokens, all sizes in one chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from dashboards import contents
from dashboards.charts import lines_over
from dashboards.queries import ArtifactRow
from registry.artifacts import Store

RUNS = 12  # newest of them in the chart
POINTS = 400  # of each
LARGEST = 200_000_000  # bytes of a run's metrics that are read for it


class TokenCurve(BaseModel):
    """Training loss of one run over its tokens, decimated. left_out: why there is no line."""

    model_config = ConfigDict(frozen=True)

    key: str
    digest: str
    sample: bool
    parameters: int | None
    tokens: list[int]
    losses: list[float]
    left_out: str | None = None


def token_curves(store: Store, rows: Sequence[ArtifactRow]) -> list[TokenCurve]:
    """Curves of pretraining checkpoints, largest model first."""
    chosen = [row for row in rows if row.ref.stage == "pretraining"][:RUNS]
    found = [_curve(store, row) for row in chosen]
    return sorted(found, key=lambda curve: -(curve.parameters or 0))


def figure(curves: Sequence[TokenCurve]) -> str | None:
    """The chart as JSON; None where no run has a line."""
    lines = [(_name(curve), curve.tokens, curve.losses) for curve in curves if curve.tokens]
    return lines_over(lines, x="tokens", y="training loss, nats per token") if lines else None


def _name(curve: TokenCurve) -> str:
    size = f"{curve.parameters:,} parameters" if curve.parameters else "unknown size"
    return f"{size} ({curve.digest[:6]}{', sample' if curve.sample else ''})"


def _curve(store: Store, row: ArtifactRow) -> TokenCurve:
    known: dict[str, Any] = {
        "key": row.ref.key,
        "digest": row.ref.digest,
        "sample": row.sample,
        "parameters": None,
        "tokens": [],
        "losses": [],
    }
    try:
        told = contents.summary(store, row.ref).get("parameters")
        known["parameters"] = told if type(told) is int else None
        points, reason = _points(store.path(row.ref) / "logs" / "metrics.jsonl")
    except (contents.ContentError, ValueError) as error:
        points, reason = [], str(error)
    kept = contents.decimate(points, POINTS)
    known |= {"tokens": [p[0] for p in kept], "losses": [p[1] for p in kept]}
    return TokenCurve(**known, left_out=reason)


def _points(path: Path) -> tuple[list[tuple[int, float]], str | None]:
    if not path.is_file():
        return [], "it keeps no metrics"
    if path.stat().st_size > LARGEST:
        return [], f"its metrics have {path.stat().st_size:,} bytes, more than are read for a page"
    points = [
        (int(tokens), loss)
        for line in contents.lines(path)
        if (loss := contents.number(line.get("loss"))) is not None
        and (tokens := contents.number(line.get("tokens"))) is not None
    ]
    return points, None if points else "it logged no tokens"
