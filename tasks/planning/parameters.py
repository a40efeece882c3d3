"""What to plan: the form of the ``planning`` flow and of ``arriero plan``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from model.gpus import GPUS, gpu_name
from model.presets import preset_name
from tasks.emissions.parameters import EmissionsParameters
from tasks.emissions.published import PAPER_BATCH_TOKENS

PRIOR_MFU = 0.5


class PlanParameters(BaseModel):
    """A training run, or with ``serve`` a model to be run, on so many GPUs of a kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Plan")

    preset: str = Field(
        "7B",
        title="Preset",
        description="Model shape by name (nano, 7B, 13B, 33B, 65B, Llama-2-7B, ...).",
    )
    tokens: int | None = Field(
        None,
        title="Training tokens",
        description="Tokens. Empty: the published number (1.0T for 7B and 13B, 1.4T for 33B, 65B).",
        ge=1,
        le=10**15,
    )
    gpus: int = Field(
        2048,
        title="GPUs",
        description="Number of GPUs. Source: paper section 2.4 (2048).",
        ge=1,
        le=1_000_000,
    )
    gpu: str = Field(
        "A100-80GB",
        title="GPU",
        description=f"Kind of GPU: {', '.join(GPUS)}; without its memory (a100, v100) the largest."
        " Source: paper section 2.4.",
    )
    gpus_per_node: int = Field(
        8,
        title="GPUs per node",
        description="GPUs of one machine, the shards of a copy in HSDP. Usual: 8.",
        ge=1,
        le=1024,
    )
    mfu: float = Field(
        PRIOR_MFU,
        title="Model FLOPs use",
        description="Part of the dense bf16 peak that is reached, no unit. Prior from Table 15.",
        gt=0,
        le=1,
    )
    context: int | None = Field(
        None,
        title="Sequence length",
        description="Tokens per training sequence, or of a served one. Empty: the preset's context,"
        " in training at most 8192.",
        ge=1,
        le=1 << 20,
    )
    batch_tokens: int = Field(
        PAPER_BATCH_TOKENS,
        title="Tokens per batch",
        description="Tokens of the global batch. Source: paper, Table 2 (4M = 4,194,304).",
        ge=1,
        le=1 << 30,
    )
    warmup_steps: int = Field(
        2000,
        title="Warm-up steps",
        description="Steps. Source: paper section 2.3.",
        ge=0,
        le=1_000_000,
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto",
        title="Precision",
        description="Of the matrix products; weights and optimizer are fp32. auto: bf16, or fp16 on"
        " a GPU without bf16.",
    )
    sharding: Literal["auto", "ddp", "fsdp", "hsdp"] = Field(
        "auto",
        title="Sharding",
        description="ddp: a copy on every GPU; fsdp: one over all GPUs; hsdp: one in each node."
        " auto: the first that fits of ddp, hsdp, fsdp.",
    )
    recompute: Literal["auto", "none", "selective", "full"] = Field(
        "auto",
        title="Activation checkpointing",
        description="What is computed again in the backward pass: none; selective: all but the"
        " outputs of linear layers (paper, section 2.4); full: all but the inputs of blocks. auto:"
        " the first that fits.",
    )
    micro_batch: int | None = Field(
        None,
        title="Micro-batch (sequences)",
        description="Sequences of one forward pass of one GPU. Empty: the most that fit.",
        ge=1,
        le=1 << 16,
    )
    serve: bool = Field(
        False,
        title="Serve",
        description="Ask whether the trained model runs on one GPU instead of what training costs.",
    )
    emissions: EmissionsParameters = Field(
        EmissionsParameters(),
        title="Emissions",
        description="PUE, intensity and budget. Its GPU TDP is used for A100 GPUs only.",
    )

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        return preset_name(value)

    @field_validator("gpu")
    @classmethod
    def _known_gpu(cls, value: str) -> str:
        return gpu_name(value)

    @model_validator(mode="after")
    def _check_across_fields(self) -> Self:
        if self.precision == "bf16" and not GPUS[self.gpu].bf16:
            raise ValueError(f"{self.gpu} has no bf16: choose precision fp16, fp32 or auto")
        if self.sharding == "hsdp" and (
            self.gpus % self.gpus_per_node or self.gpus == self.gpus_per_node
        ):
            raise ValueError(
                f"hsdp needs several whole nodes: {self.gpus} GPUs are not, with"
                f" {self.gpus_per_node} in a node; change gpus or gpus_per_node, or choose fsdp"
            )
        return self

    @property
    def number_format(self) -> str:
        """bf16, fp16 or fp32."""
        if self.precision != "auto":
            return self.precision
        return "bf16" if GPUS[self.gpu].bf16 else "fp16"
