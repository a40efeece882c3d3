"""The report of a scaling study as Markdown: for people, and for Prefect's artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COUNTS = {
    "without_embeddings": "parameters without the embedding matrices",
    "all": "all parameters",
}


def markdown(report: Mapping[str, Any], ladder: Sequence[Mapping[str, Any]]) -> str:
    """The answers first, then the law, then the runs."""
    percent = f"{100 * report['confidence']:g} %"
    charged = report["charged"]
    lines = [
        f"## Cheapest way to a loss of {report['target_loss']:.4g} nats per token",
        "",
        f"Brackets: {percent} intervals over the drawn laws. N: {COUNTS[report['count']]}.",
        "",
        "| served tokens | N | N within 5 % of the least | training tokens | GPU-hours, training +"
        " serving | GPU-hours | kWh | tCO2eq |",
        "|---:|---|---|---|---|---|---|---|",
    ]
    for item in report["answers"]:
        nearly = " to ".join(short(number) for number in item["nearly"])
        parts = " + ".join(short(item[part]["gpu_hours"]) for part in ("training", "serving"))
        cells = [
            f"{item['served_tokens']:,}",
            figure(item["size"]),
            nearly,
            figure(item["tokens"]),
            parts,
            *(figure(item[name]) for name in ("gpu_hours", "kwh", "tco2eq")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Training {charged['training_formula']}, MFU {charged['mfu']:g}; serving"
        f" {charged['serving_formula']}, MFU {charged['serving_mfu']:g}; T"
        f" {charged['context']:,}; {charged['gpu']}, {charged['gpu_watts']:g} W, PUE"
        f" {charged['pue']:g}, {charged['intensity_kg_per_kwh']:g} kg/kWh"
        f" ({charged['intensity_source']}).",
        "",
        "## L(N, D) = E + A / N^alpha + B / D^beta",
        "",
        f"L: {report['loss']}. Noise of log L: {short(report['noise'])}.",
        "",
        f"| parameter | value | {percent} interval |",
        "|---|---:|---|",
    ]
    for name, value in report["law"].items():
        lines.append(
            f"| {name} | {short(value['value'])} | {short(value['low'])} to"
            f" {short(value['high'])} |"
        )
    lines += [
        "",
        "## Runs",
        "",
        "| run | N | all parameters | tokens | loss | law |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in ladder:
        lines.append(
            f"| {row['name']} | {row['size']:,} | {row['parameters']:,} | {row['tokens']:,} |"
            f" {row['loss']:.4f} | {row['law_loss']:.4f} |"
        )
    lines += ["", *(f"- {note}" for note in report["notes"])]
    return "\n".join(lines).rstrip() + "\n"


def figure(value: Mapping[str, Any]) -> str:
    """``1.2e6 (0.9e6 to 2.1e6)``; an interval without an upper bound says so."""
    high = "no bound" if value["high"] is None else short(value["high"])
    low = "no bound" if value["low"] is None else short(value["low"])
    return f"{short(value['value'])} ({low} to {high})"


def short(value: float) -> str:
    """Three significant digits; thousands as they are, the rest with an exponent."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.3g}"
