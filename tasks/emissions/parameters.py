"""What the ledger multiplies energy with: parameters of metering and of carbon accounting."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# The paper's constants (section 6, Table 15): US average intensity, PUE, TDP of an A100-80GB.
PAPER_INTENSITY = 0.385
PAPER_PUE = 1.1
PAPER_TDP = 400.0


class EmissionsParameters(BaseModel):
    """How energy is metered and turned into carbon. Nothing in here changes an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Emissions")

    pue: float = Field(
        PAPER_PUE,
        title="Power usage effectiveness",
        description="Facility energy / IT energy, no unit. Source: paper section 6 (1.1).",
        ge=1.0,
        le=3.0,
        json_schema_extra={"recipe": False},
    )
    intensity: float = Field(
        PAPER_INTENSITY,
        title="Carbon intensity of the grid",
        description=(
            "kg CO2eq per kWh (not grams: 385 g is 0.385), location based, yearly average."
            " Source: paper section 6 (US average, 0.385)."
        ),
        ge=0.005,
        le=1.5,
        json_schema_extra={"recipe": False},
    )
    intensity_source: str = Field(
        "LLaMA paper, section 6: US average",
        title="Source of the intensity",
        description="Where the factor comes from: zone, period, publication. Printed beside it.",
        min_length=1,
        max_length=200,
        json_schema_extra={"recipe": False},
    )
    gpu_tdp: float = Field(
        PAPER_TDP,
        title="GPU thermal design power",
        description="W per GPU in the paper's formula. Source: A100-80GB NVLink (paper section 6).",
        ge=10,
        le=3000,
        json_schema_extra={"recipe": False},
    )
    cpu_tdp_per_thread: float = Field(
        8.0,
        title="CPU power bound",
        description=(
            "W per logical CPU charged when a node is unmetered; an upper bound (server parts:"
            " 2 to 4 W, desktop parts: up to 7 W by their makers' data sheets)."
        ),
        ge=0.5,
        le=100,
        json_schema_extra={"recipe": False},
    )
    ram_power_per_gb: float = Field(
        1.0,
        title="Memory power bound",
        description=(
            "W per GB charged when a node is unmetered; an upper bound (Green Algorithms: 0.37,"
            " CodeCarbon: 5 W per module)."
        ),
        ge=0.05,
        le=10,
        json_schema_extra={"recipe": False},
    )
    measure_interval_s: float = Field(
        15.0,
        title="Interval of the meter",
        description="Seconds between two records; a killed meter loses at most one interval.",
        ge=0.1,
        le=300,
        json_schema_extra={"recipe": False},
    )
    budget: float | None = Field(
        None,
        title="Carbon budget",
        description=(
            "t CO2eq that all attempts together may cost, at the configured intensity; a run"
            " whose P95 forecast does not fit is refused. Empty: no budget."
        ),
        gt=0,
        le=1e6,
        json_schema_extra={"recipe": False},
    )

    def factors(self) -> dict[str, Any]:
        """What an attempt is charged with, as its mark keeps it."""
        return self.model_dump(mode="json", exclude={"measure_interval_s", "budget"})


PAPER_FACTORS = EmissionsParameters()
