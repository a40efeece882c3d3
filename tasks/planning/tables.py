"""Plans as tables for people, and as rows for Prefect's artifacts."""

from __future__ import annotations

from rich.table import Table

from tasks.emissions.forecast import PlanReport, Range
from tasks.planning.serving import ServeReport

SHARDINGS = {"ddp": "DDP, a copy on every GPU", "hsdp": "HSDP", "fsdp": "FSDP2 full shard"}
RECOMPUTES = {
    "none": "no activation checkpointing",
    "selective": "selective activation checkpointing (outputs of linear layers kept)",
    "full": "full activation checkpointing",
}


def training_rows(report: PlanReport) -> dict[str, str]:
    """Name and text of each line."""
    fits = "fits" if report.fits else "does NOT fit"
    paper = report.paper

    def beside(value: str) -> str:
        return f"; paper {value}" if paper else ""

    kwh = report.kwh_range
    mwh = Range(p5=kwh.p5 / 1000, p95=kwh.p95 / 1000)
    rows = {
        "Parameters": f"{report.parameters:,}",
        "Tokens": f"{report.tokens:,} ({report.recipe_source})",
        "Steps": f"{report.steps:,} of {report.batch_tokens:,} tokens",
        "Learning rate": f"{report.learning_rate:g}, {report.warmup_steps:,} warm-up steps",
        "FLOPs per token": f"{report.flops_per_token:,} ({report.flops_formula})",
        "Peak": f"{report.peak_flops_per_gpu:.4g} FLOP/s, {report.precision}"
        f" ({report.peak_flops_source}), MFU {report.mfu:.0%}",
        "GPU-hours": _band(report.gpu_hours, report.gpu_hours_range)
        + beside(f"{paper.gpu_hours:,.0f} ({paper.gpu_hours_difference:+.1%})" if paper else ""),
        "Days": _band(report.days, report.days_range)
        + beside(f"{paper.days:.3g}" if paper else ""),
        "Energy": _band(report.kwh / 1000, mwh, " MWh")
        + beside(f"{paper.mwh:g} MWh" if paper else "")
        + f"; {report.gpu_watts:g} W, PUE {report.pue:g}",
        "Carbon": _band(report.tco2eq, report.tco2eq_range, " t CO2eq")
        + beside(f"{paper.tco2eq:g} t" if paper else "")
        + f"; {report.intensity_kg_per_kwh:g} kg/kWh ({report.intensity_source})",
        "Layout": f"{SHARDINGS[report.sharding]}, {report.gpus // report.shard} x {report.shard}"
        f" (copies x shards), {RECOMPUTES[report.recompute]}",
        "Sequences per GPU": f"micro-batch {report.micro_batch}, accumulation"
        f" {report.accumulation}",
        "Memory per GPU": f"{report.memory_per_gpu_gib:.3g} GiB, {fits} in"
        f" {report.gpu_memory_gib:g} GiB",
    }
    for name, size in report.memory.model_dump().items():
        if size:
            rows[f"  {name.replace('_', ' ')}"] = f"{size:.3g} GiB"
    rows["By checkpointing"] = ", ".join(
        f"{name} {size:.3g} GiB" for name, size in report.memory_by_recompute_gib.items()
    )
    return rows


def render_plan(report: PlanReport) -> Table:
    """The forecast as a table for people."""
    table = Table(title=f"Plan: {report.preset} on {report.gpus} x {report.gpu}", show_header=False)
    for name, value in training_rows(report).items():
        table.add_row(name, value)
    for note in report.notes:
        table.add_row("Note", note)
    return table


def serving_rows(report: ServeReport) -> dict[str, list[str]]:
    """Name and one text for each number format."""
    formats = report.formats.values()
    rows = {
        f"Runs on one {report.gpu}": ["yes" if f.fits else "NO" for f in formats],
        "Weights": [f"{f.weights_gib:.3g} GiB" for f in formats],
        "Beside, prefill": [f"{f.prefill_gib:.3g} GiB" for f in formats],
        "Beside, decoding": [f"{f.decoding_gib:.3g} GiB" for f in formats],
        f"Largest batch at {report.context:,} tokens": [f"{f.largest_batch:,}" for f in formats],
        "Bound of tokens/s, one row": [_bound(f.tokens_per_second_bound_one_row) for f in formats],
        "Bound of tokens/s, largest batch": [
            _bound(f.tokens_per_second_bound_largest_batch) for f in formats
        ],
    }
    for cells in zip(*(f.cells for f in formats), strict=True):
        name = f"{cells[0].context:,} tokens x {cells[0].batch}, cache {cells[0].cache_gib:.3g} GiB"
        rows[name] = [
            f"{cell.total_gib:.3g} GiB" + ("" if cell.fits else ", does NOT fit") for cell in cells
        ]
    return rows


def render_serving(report: ServeReport) -> Table:
    """Whether it runs, as a table for people."""
    table = Table(
        title=f"Serve: {report.preset} on one {report.gpu} ({report.usable_gib:.3g} of"
        f" {report.gpu_memory_gib:g} GiB usable), cache {report.cache_mib_per_token:.3g} MiB a"
        " token"
    )
    for name in ("", *report.formats):
        table.add_column(name)
    for name, cells in serving_rows(report).items():
        table.add_row(name, *cells)
    for note in report.notes:
        table.caption = f"{table.caption} {note}" if table.caption else note
    return table


def markdown(report: PlanReport | ServeReport) -> str:
    """The same lines for Prefect."""
    if isinstance(report, ServeReport):
        rows = [
            ["", *report.formats],
            ["---"] * (1 + len(report.formats)),
            *([name, *cells] for name, cells in serving_rows(report).items()),
        ]
    else:
        rows = [["", ""], ["---", "---"], *map(list, training_rows(report).items())]
    lines = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows]
    return "\n".join([*lines, "", *report.notes])


def _bound(value: float) -> str:
    return f"{value:,.0f}" if value else "-"


def _band(value: float, spread: Range, unit: str = "") -> str:
    return f"{_short(value)}{unit} (P5-P95 {_short(spread.p5)} to {_short(spread.p95)})"


def _short(value: float) -> str:
    """Three significant digits, or whole numbers with separators."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
