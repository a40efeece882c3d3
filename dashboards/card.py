"""The run card: one HTML file that holds everything about a run and needs nothing else.

It is kept beside the run, in MLflow, and outlives the services: no script, no font, no address is
loaded; the loss curve is an SVG picture inside the file. The same rows give the same bytes.
"""

from __future__ import annotations

import base64
import io

from dashboards import formats
from dashboards.contents import Curve
from dashboards.report import RunReport, run_report
from registry.artifacts import Kind, Store
from registry.database import Registry
from registry.lineage import LineageCycle, UnknownArtifact, lineage_tree, render
from registry.settings import load_settings

RAW_FILES = 5  # of each dump that the card lists
# Okabe and Ito's colours: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8B8000", "#444444")


def render_card(registry: Registry, run_id: str) -> str:
    """The card of a run as HTML, the store being that of the settings.

    Raises:
        registry.runs.UnknownRun: no run of that id.
    """
    store = Store(load_settings().store, registry)
    report = run_report(registry, store, run_id)
    template = formats.environment().get_template("card.html")
    return template.render(
        report=report,
        parameters=list(formats.flatten(report.run.parameters)),
        charts=[
            (training, chart_uri(training.curve) if training.curve else None)
            for training in report.trainings
        ],
        lineages=_lineages(registry, store, report),
    )


def chart_uri(curve: Curve) -> str:
    """The loss curve as a ``data:`` address of an SVG picture, deterministic."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Ids come from this salt and not from chance; text stays text.
    with matplotlib.rc_context({"svg.hashsalt": "arriero", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.plot(curve.loss.steps, curve.loss.values, color=COLOURS[0], lw=1.4, label="training")
        for number, series in enumerate(curve.validation, start=1):
            colour = COLOURS[number % len(COLOURS)]
            # A source named "_x" would vanish from the legend, one with "$" be read as formula.
            label = "validation: " + series.name.replace("$", r"\$")
            axes.plot(series.steps, series.values, "o-", color=colour, lw=1, ms=3, label=label)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss, nats per token")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", fontsize="small", frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(picture.getvalue()).decode("ascii")


def _lineages(registry: Registry, store: Store, report: RunReport) -> list[tuple[str, str]]:
    """(title, tree as text) of every model of the run; of its artifacts when it made no model."""
    refs = [row.ref for row in report.artifacts if row.ref.kind is Kind.MODEL]
    if not refs:
        refs = [row.ref for row in report.artifacts][-1:]
    found: list[tuple[str, str]] = []
    for ref in refs:
        title = f"{ref.kind} {ref.digest}"
        try:
            text = render(lineage_tree(registry, store, ref, max_files=RAW_FILES))
        except (LineageCycle, UnknownArtifact) as error:
            text = str(error)
        found.append((title, text))
    return found
