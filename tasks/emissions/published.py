"""What a forecast takes from publications: recipes by their papers, the paper's own costs."""

from __future__ import annotations

from dataclasses import dataclass

from registry.paper import table

PAPER_BATCH_TOKENS = 4_194_304  # the paper's "4M": 2048 sequences of 2048


@dataclass(frozen=True)
class Recipe:
    """Training tokens and peak learning rate of one published model."""

    tokens: float
    learning_rate: float
    source: str


_TABLE_2 = "paper, Table 2"
_CARD_2 = "Llama 2 paper, Table 1"
_HERD = "Llama 3 paper, Table 3; tokens of the model card"
RECIPES = {
    "7B": Recipe(1.0e12, 3.0e-4, _TABLE_2),
    "13B": Recipe(1.0e12, 3.0e-4, _TABLE_2),
    "33B": Recipe(1.4e12, 1.5e-4, _TABLE_2),
    "65B": Recipe(1.4e12, 1.5e-4, _TABLE_2),
    "Llama-2-7B": Recipe(2.0e12, 3.0e-4, _CARD_2),
    "Llama-2-13B": Recipe(2.0e12, 3.0e-4, _CARD_2),
    "Llama-2-70B": Recipe(2.0e12, 1.5e-4, _CARD_2),
    "Llama-3-8B": Recipe(15.0e12, 3.0e-4, _HERD),
    "Llama-3-70B": Recipe(15.0e12, 1.5e-4, _HERD),
    "Llama-3.1-8B": Recipe(15.0e12, 3.0e-4, _HERD),
    "Llama-3.1-70B": Recipe(15.0e12, 1.5e-4, _HERD),
    "Llama-3.1-405B": Recipe(15.0e12, 8.0e-5, _HERD),
}
UNPUBLISHED = (
    "not published for this shape: 20 tokens per parameter (Chinchilla), Table 2's rate of 7B"
)


@dataclass(frozen=True)
class PaperCost:
    """A row of Table 15."""

    gpu_hours: int
    mwh: float
    tco2eq: float


def paper_cost(preset: str) -> PaperCost | None:
    """What the paper says that its model of this name took; None for other shapes."""
    for row in table("table15_carbon"):
        if row["model"] == f"LLaMA-{preset}":
            return PaperCost(int(row["gpu_hours"]), float(row["total_MWh"]), float(row["tCO2eq"]))
    return None
