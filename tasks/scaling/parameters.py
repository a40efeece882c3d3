"""Parameters of the scaling study: what is fitted, and what reaching a loss is charged with."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from model.gpus import GPUS
from tasks.emissions.forecast import PRIOR_MFU

Count = Literal["without_embeddings", "all"]


class CostParameters(BaseModel):
    """The machine that training and serving are charged for."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Cost")

    gpu: str = Field(
        "A100-80GB",
        title="GPU",
        description=f"Kind of GPU: {', '.join(GPUS)}. Source: paper section 2.4.",
        max_length=64,
    )
    mfu: float = Field(
        PRIOR_MFU,
        title="Model FLOPs use of training",
        description="Part of the dense bf16 peak that is reached, no unit. Prior from Table 15.",
        gt=0,
        le=1,
    )
    serving_mfu: float = Field(
        0.25,
        title="Model FLOPs use of serving",
        description="Part of the dense bf16 peak that serving reaches, no unit. Nothing published "
        "with the paper: a guess of ours, half of training's, as decoding waits for memory; put in "
        "what your servers reach.",
        gt=0,
        le=1,
    )
    context: int | None = Field(
        None,
        title="Context (tokens)",
        description="Keys that a token attends to, in training and serving, for the attention's "
        "FLOPs. Empty: the ladder's sequence length.",
        ge=1,
        le=1 << 20,
    )

    @field_validator("gpu")
    @classmethod
    def _known_gpu(cls, value: str) -> str:
        if value not in GPUS:
            raise ValueError(f"unknown GPU {value!r}; known: {', '.join(GPUS)}")
        return value


class ScalingParameters(BaseModel):
    """The loss law of a ladder, and the cheapest way to a loss."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Scaling law")

    count: Count = Field(
        "without_embeddings",
        title="Parameters counted",
        description="The law's N. without_embeddings: blocks and norms (Kaplan et al. 2020); all: "
        "with the embedding matrices (Hoffmann et al. 2022). For small models the vocabulary is "
        "most of the parameters. FLOPs are reckoned from the shapes either way.",
    )
    huber_delta: float = Field(
        1e-3,
        title="Huber's delta",
        description="Difference of log losses up to which an error counts squared, no unit. "
        "Source: Hoffmann et al. 2022, section 3.3.",
        gt=0,
        le=1,
    )
    draws: int = Field(
        1000,
        title="Draws",
        description="Laws refitted to drawn losses, for the intervals.",
        ge=100,
        le=100_000,
    )
    confidence: float = Field(
        0.9,
        title="Confidence",
        description="Share of the draws inside an interval, no unit.",
        ge=0.5,
        le=0.99,
    )
    seed: int = Field(
        0, title="Seed", description="Decides the drawn losses, no unit.", ge=0, lt=1 << 31
    )
    target_loss: float | None = Field(
        None,
        title="Target loss",
        description="Nats per token on the ladder's validation text. Empty: the lowest loss that a "
        "run of the ladder reached, which needs no extrapolation of the loss.",
        gt=0,
        le=20,
    )
    served_tokens: tuple[int, ...] = Field(
        (0, 10_000_000, 100_000_000, 1_000_000_000),
        title="Tokens served",
        description="Tokens over the life of the model, one answer for each. 0: the cheapest "
        "training alone. Read and written tokens count the same.",
        min_length=1,
        max_length=20,
    )
    cost: CostParameters = Field(
        default_factory=CostParameters, title="Cost", description="What compute is charged with."
    )

    @field_validator("served_tokens")
    @classmethod
    def _sensible_volumes(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= number <= 10**18 for number in value):
            raise ValueError("served_tokens must be between 0 and 10^18")
        return tuple(sorted(set(value)))
