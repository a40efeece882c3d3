"""Carbon from energy: the paper's formula, the reading, the full boundary, side by side.

Energy is stored once and carbon derived here, so nothing is multiplied twice. ``paper`` is neither
an upper nor a lower bound of ``measured``: it takes GPUs at TDP and leaves everything else out.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

from pydantic import BaseModel, ConfigDict

from tasks.emissions.ledger import Entry
from tasks.emissions.parameters import PAPER_INTENSITY, PAPER_PUE, PAPER_TDP, EmissionsParameters

# kg CO2eq per kWh of IT energy that published training reports imply; outside is a slip of units.
PLAUSIBLE_KG_PER_KWH = (0.005, 1.5)


def paper_energy(
    gpu_hours: int | Decimal, tdp: float = PAPER_TDP, pue: float = PAPER_PUE
) -> Decimal:
    """MWh = GPU-h x TDP x PUE (paper section 6), exact."""
    return Decimal(gpu_hours) * Decimal(str(tdp)) * Decimal(str(pue)) / Decimal(10**6)


def paper_carbon(
    gpu_hours: int | Decimal,
    tdp: float = PAPER_TDP,
    pue: float = PAPER_PUE,
    intensity: float = PAPER_INTENSITY,
) -> Decimal:
    """t CO2eq = MWh x 0.385 (paper section 6), exact."""
    return paper_energy(gpu_hours, tdp, pue) * Decimal(str(intensity))


def paper_row(gpu_hours: int) -> tuple[int, int]:
    """(MWh, t CO2eq) as Table 15 prints them: MWh cut, t half-up from the printed MWh.

    Every cell of Table 15 follows but BLOOM's energy, printed 475 for 476 (declared erratum).
    """
    mwh = paper_energy(gpu_hours).to_integral_value(ROUND_FLOOR)
    return int(mwh), printed_carbon(int(mwh))


def printed_carbon(mwh: int) -> int:
    """t CO2eq of a printed MWh at 0.385, half-up."""
    carbon = Decimal(mwh) * Decimal(str(PAPER_INTENSITY))
    return int(carbon.to_integral_value(ROUND_HALF_UP))


def check_plausible(
    tco2eq: float, gpu_hours: float, tdp: float, bounds: tuple[float, float] | None = None
) -> float:
    """kg CO2eq per kWh of IT energy that a reported figure implies.

    Raises:
        ValueError: outside ``bounds``; a published figure was off 160 times this way.
    """
    low, high = bounds or PLAUSIBLE_KG_PER_KWH
    implied = tco2eq * 1000 / (gpu_hours * tdp / 1000)
    if not low <= implied <= high:
        raise ValueError(
            f"{tco2eq:g} t CO2eq for {gpu_hours:g} GPU-hours at {tdp:g} W implies {implied:.4f}"
            f" kg/kWh, outside {low:g} to {high:g}: check the units of the figure"
        )
    return implied


class Method(BaseModel):
    """One way to count an attempt. kwh: facility energy; None: this way has no number here."""

    model_config = ConfigDict(frozen=True)

    kwh: float | None
    tco2eq_paper_intensity: float | None
    tco2eq: float | None
    note: str


def three_methods(
    entry: Entry, parameters: EmissionsParameters, idle_kwh: float
) -> dict[str, Method]:
    """``paper``, ``measured`` and ``full`` for one attempt, each at 0.385 and at the grid's factor.

    idle_kwh: the attempt's part of its node's idle IT energy, kWh.
    """
    gpu_kwh = entry.gpu_hours * parameters.gpu_tdp / 1000 * parameters.pue if entry.gpus else None
    share = f"{100 * entry.measured_share:.0f} % of it from counters"
    return {
        "paper": _method(
            gpu_kwh,
            parameters,
            f"GPU-hours x {parameters.gpu_tdp:g} W x PUE {parameters.pue:g}"
            if entry.gpus
            else "no GPU: the paper's formula counts GPU-hours only",
        ),
        "measured": _method(
            entry.kwh_total * parameters.pue,
            parameters,
            f"meter x PUE {parameters.pue:g}; {share}",
        ),
        "full": _method(
            (entry.kwh_total + idle_kwh) * parameters.pue,
            parameters,
            "measured and its share of the node's idle energy; embodied carbon, network and"
            " storage are not known",
        ),
    }


def _method(kwh: float | None, parameters: EmissionsParameters, note: str) -> Method:
    if kwh is None:
        return Method(kwh=None, tco2eq_paper_intensity=None, tco2eq=None, note=note)
    return Method(
        kwh=kwh,
        tco2eq_paper_intensity=kwh * PAPER_INTENSITY / 1000,
        tco2eq=kwh * parameters.intensity / 1000,
        note=note,
    )
