"""Plotly figures as plain values; ``static/charts.js`` draws them in the page's colours."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from dashboards.contents import Curve, Mixture, SourceFunnel


def loss_figure(curve: Curve) -> str:
    """Training loss and validation losses over optimizer steps, as JSON."""
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "training",
            "x": curve.loss.steps,
            "y": curve.loss.values,
        }
    ]
    for series in curve.validation:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"validation: {_plain(series.name)}",
                "x": series.steps,
                "y": series.values,
                "marker": {"size": 5},
            }
        )
    return _json(traces, x="optimizer step", y="loss, nats per token")


def funnel_figure(sources: list[SourceFunnel]) -> str:
    """Documents read and kept by source, as JSON; logarithmic, as sources differ widely."""
    names = [_plain(source.source) for source in sources]
    traces = [
        {"type": "bar", "name": "read", "x": names, "y": [s.documents_in for s in sources]},
        {"type": "bar", "name": "kept", "x": names, "y": [s.documents_out for s in sources]},
    ]
    # One document is the floor: a bar on a logarithmic axis has no zero to stand on.
    top = max((source.documents_in for source in sources), default=1)
    return _json(traces, x="", y="documents", log_top=math.log10(max(top, 10)) + 0.1)


def mixture_figure(mixture: Mixture) -> str:
    """Weights beside the paper's Table 1, percent, as JSON."""
    names = list(mixture.table1) + [name for name in mixture.weights if name not in mixture.table1]
    names.sort(key=lambda name: -mixture.table1.get(name, 0))
    weights = [100 * mixture.weights.get(name, 0) for name in names]
    paper = [100 * mixture.table1.get(name, 0) for name in names]
    labels = [_plain(name) for name in names]
    traces = [
        {"type": "bar", "name": "this corpus", "x": labels, "y": weights},
        {"type": "bar", "name": "paper, Table 1", "x": labels, "y": paper},
    ]
    return _json(traces, x="", y="share of training, %")


def lines_over(
    traces: Sequence[tuple[str, Sequence[float], Sequence[float]]], *, x: str, y: str
) -> str:
    """Lines ``(name, x, y)``, as JSON."""
    drawn = [
        {"type": "scatter", "mode": "lines", "name": _plain(name), "x": list(across), "y": list(up)}
        for name, across, up in traces
    ]
    return _json(drawn, x=x, y=y)


def log_log(
    traces: Sequence[tuple[str, str, Sequence[float], Sequence[float]]], *, x: str, y: str
) -> str:
    """Lines and points ``(mode, name, x, y)`` on two logarithmic axes, as JSON."""
    drawn = [
        {
            "type": "scatter",
            "mode": mode,
            "name": _plain(name),
            "x": list(across),
            "y": list(up),
        }
        for mode, name, across, up in traces
    ]
    axes = {
        "xaxis": {"title": {"text": x}, "type": "log"},
        "yaxis": {"title": {"text": y}, "type": "log"},
    }
    return json.dumps({"data": drawn, "layout": axes}, allow_nan=False)


def _json(traces: list[dict[str, Any]], *, x: str, y: str, log_top: float | None = None) -> str:
    vertical: dict[str, Any] = {"title": {"text": y}}
    if log_top is not None:
        vertical |= {"type": "log", "range": [0, log_top], "dtick": 1}
    layout = {"xaxis": {"title": {"text": x}}, "yaxis": vertical}
    return json.dumps({"data": traces, "layout": layout}, allow_nan=False)


def _plain(name: str) -> str:
    """A name without what Plotly reads as markup (``<b>``, ``<a href>``)."""
    return name.replace("<", "‹").replace(">", "›").replace("&", "+")
