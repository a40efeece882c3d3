"""What a forecast takes from publications: GPUs by their data sheets, recipes by their papers."""

from __future__ import annotations

from dataclasses import dataclass

PAPER_BATCH_TOKENS = 4_194_304  # the paper's "4M": 2048 sequences of 2048


@dataclass(frozen=True)
class Gpu:
    """Dense bf16 peak in FLOP/s, TDP in W, memory in GiB, by the maker's data sheet."""

    peak: float
    tdp: float
    memory_gib: float


GPUS = {
    "A100-80GB": Gpu(312e12, 400, 80),
    "A100-40GB": Gpu(312e12, 400, 40),
    "H100-80GB": Gpu(989e12, 700, 80),
    "H200-141GB": Gpu(989e12, 700, 141),
}


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
