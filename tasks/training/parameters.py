"""Parameters of pretraining, finetuning and export: the forms, and the recipe."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from model.config import ModelConfig
from model.presets import preset, preset_name
from tasks.training.layout import NO_RECIPE, LayoutParameters


class TrainingParameters(LayoutParameters):
    """What pretraining and finetuning have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Training")

    global_batch: int = Field(
        16,
        title="Global batch (sequences)",
        description="Sequences of one optimizer step over all processes. Paper: 4M tokens for all "
        "sizes = 2,048 sequences of 2,048 tokens (Table 2).",
        ge=1,
        le=1 << 20,
    )
    learning_rate: float = Field(
        1e-3,
        title="Peak learning rate",
        description="No unit. Paper: 3.0e-4 for 7B and 13B, 1.5e-4 for 33B and 65B (Table 2); "
        "small models take more.",
        gt=0,
        le=1.0,
    )
    warmup_steps: int = Field(
        20,
        title="Warm-up (steps)",
        description="Optimizer steps of linear warm-up. Paper: 2,000 (section 2.3).",
        ge=0,
        le=10_000_000,
    )
    final_ratio: float = Field(
        0.1,
        title="Final learning rate (ratio)",
        description="Learning rate of the last step over the peak; cosine between. Paper: 0.1.",
        ge=0,
        le=1,
    )
    beta1: float = Field(
        0.9, title="AdamW beta1", description="No unit. Paper: 0.9 (section 2.3).", ge=0, lt=1
    )
    beta2: float = Field(
        0.95, title="AdamW beta2", description="No unit. Paper: 0.95 (section 2.3).", ge=0, lt=1
    )
    eps: float = Field(
        1e-8,
        title="AdamW epsilon",
        description="No unit. The paper is silent; torch's default. Llama 2 states 1e-5.",
        gt=0,
        le=1e-2,
    )
    weight_decay: float = Field(
        0.1,
        title="Weight decay",
        description="Of every matrix, not of the norm gains; no unit. Paper: 0.1 (section 2.3), "
        "which parameters decay is not stated.",
        ge=0,
        le=10,
    )
    clip: float = Field(
        1.0,
        title="Gradient clipping",
        description="Largest global gradient norm, no unit. Paper: 1.0 (section 2.3).",
        gt=0,
        le=1e6,
    )
    seed: int = Field(
        0,
        title="Seed",
        description="Decides initial weights and the order of the data.",
        ge=0,
        lt=1 << 31,
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        title="Precision",
        description="bf16 = autocast with fp32 weights and optimizer. fp16 is not offered: on a "
        "CPU it is silently fp32.",
    )
    spike_sigmas: float = Field(
        6.0,
        title="Spike (standard deviations)",
        description="A step whose loss or gradient norm is so far above the mean of the last 128 "
        "is bad; 0 = never. The paper is silent; OLMo-core uses 6.",
        ge=0,
        le=1000,
    )
    max_bad_steps: int = Field(
        3,
        title="Bad steps before the roll-back",
        description="Consecutive optimizer steps whose loss or gradient is not finite or leaps; "
        "each is skipped by all processes, then the run goes back to the last good checkpoint and "
        "passes over these batches. The paper is silent.",
        ge=1,
        le=1000,
    )
    max_rollbacks: int = Field(
        3,
        title="Roll-backs before giving up",
        description="How often a run may go back to a checkpoint before it is called diverged.",
        ge=0,
        le=1000,
    )
    validation_tokens: int = Field(
        65_536,
        title="Validation (tokens per source)",
        description="At most this many held-out tokens of each source are scored; 0 = all.",
        ge=0,
    )
    checkpoint_every: int = Field(
        50,
        title="Checkpoint every (steps)",
        description="Optimizer steps between checkpoints; a kill loses at most these.",
        ge=1,
        json_schema_extra=NO_RECIPE,
    )
    checkpoint_seconds: float | None = Field(
        None,
        title="Temporary checkpoint every (s)",
        description="Seconds after which one is written between the others; it is deleted when the "
        "next one is there. Empty = none.",
        gt=0,
        le=31_536_000,
        json_schema_extra=NO_RECIPE,
    )
    keep_last: int = Field(
        2,
        title="Checkpoints kept",
        description="Newest checkpoints that stay; at least 2, so that a damaged one can be "
        "walked back from.",
        ge=2,
        le=1000,
        json_schema_extra=NO_RECIPE,
    )
    keep_every: int = Field(
        0,
        title="Checkpoints kept for good (steps)",
        description="Every checkpoint whose step is a multiple of this stays, in the run's work "
        "folder, which is then never removed; 0 = none.",
        ge=0,
        json_schema_extra=NO_RECIPE,
    )
    log_every: int = Field(
        1,
        title="Metrics every (steps)",
        description="Optimizer steps between two lines of metrics.",
        ge=1,
        json_schema_extra=NO_RECIPE,
    )
    validate_every: int = Field(
        0,
        title="Validation every (steps)",
        description="Optimizer steps between validations during the run; 0 = at its end only.",
        ge=0,
        json_schema_extra=NO_RECIPE,
    )
    grace_seconds: float = Field(
        300.0,
        title="Grace (s)",
        description="Seconds from a stop request to the hard end of the trainer; one micro-batch "
        "and the last checkpoint (12 bytes per parameter, written and hashed) must fit in.",
        gt=0,
        le=86_400,
        json_schema_extra=NO_RECIPE,
    )
    peak_flops: float | None = Field(
        None,
        title="Peak FLOP/s of one device",
        description="Dense peak in this precision, for MFU (A100 bf16: 3.12e14); empty on a CPU, "
        "where MFU is not reported.",
        gt=0,
        json_schema_extra=NO_RECIPE,
    )

    def problems(self) -> list[str]:
        """What is wrong across fields, all of it."""
        found = self.layout_problems(self.global_batch)
        if self.device == "cpu" and self.peak_flops is not None:
            found.append("peak_flops is for GPUs: leave it empty with device cpu")
        return found

    @model_validator(mode="after")
    def _check_across_fields(self) -> Self:
        if found := self.problems():
            raise ValueError("; ".join(found))
        return self


class PretrainingParameters(TrainingParameters):
    """Next-token training on the mixture of sources (paper, sections 2.1 to 2.3)."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Pretraining")

    preset: str = Field(
        "nano",
        title="Model preset",
        description="Name of a shape: nano, 8M, 25M, 110M, 1B, 7B, 13B, 33B, 65B or a later "
        "Llama's (Table 2 of each paper). The vocabulary is the tokenizer's.",
        min_length=1,
        max_length=64,
    )
    shape: ModelConfig | None = Field(
        None,
        title="Own shape",
        description="A shape of your own in place of the preset's; empty = the preset.",
    )
    steps: int = Field(
        200,
        title="Optimizer steps",
        description="Steps. Paper: 1.0T tokens for 7B and 13B, 1.4T for 33B and 65B; with 4M = "
        "4,194,304 tokens a step these are 238,419 and 333,786 steps.",
        ge=1,
        le=100_000_000,
    )
    context: int = Field(
        256,
        title="Sequence length (tokens)",
        description="Tokens of one training sequence, at most the model's context. LLaMA: 2,048.",
        ge=8,
        le=1 << 24,
    )
    mask_documents: bool = Field(
        False,
        title="Mask documents",
        description="Attention stays inside a document and positions restart with it. The paper "
        "does not say; off is the practice of its time.",
    )
    skip_batches: tuple[int, ...] = Field(
        (),
        title="Skipped batches",
        description="Numbers of data batches that are never trained on (after a loss spike, say).",
        max_length=10_000,
    )

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        return preset_name(value)

    def shape_name(self) -> str:
        """How messages call the model's shape."""
        return "shape" if self.shape else f"preset {self.preset}"

    def problems(self) -> list[str]:
        found = super().problems()
        if self.warmup_steps >= self.steps:
            found.append(f"warmup_steps {self.warmup_steps} must be below steps {self.steps}")
        longest = (self.shape or preset(self.preset)).context
        if self.context > longest:
            found.append(
                f"context {self.context} is longer than the model's: {self.shape_name()} has"
                f" {longest}; lower context, or give a shape of your own with a longer one"
            )
        if any(number < 0 for number in self.skip_batches):
            found.append("skip_batches must not hold negative numbers")
        return found


class FinetuningParameters(TrainingParameters):
    """Instruction finetuning to Llama-I (paper, section 4), loss on the answers only.

    The paper gives no numbers for it; the defaults follow what later work uses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Finetuning")

    epochs: float = Field(
        2.0,
        title="Epochs",
        description="Passes over the packed instructions. The paper is silent; Llama 2 states 2.",
        gt=0,
        le=1000,
    )
    learning_rate: float = Field(
        2e-5,
        title="Peak learning rate",
        description="No unit. The paper is silent; Llama 2 states 2e-5; small models take more.",
        gt=0,
        le=1.0,
    )
    warmup_steps: int = Field(
        0,
        title="Warm-up (steps)",
        description="Optimizer steps of linear warm-up. The paper is silent.",
        ge=0,
        le=10_000_000,
    )


class ExportParameters(BaseModel):
    """A checkpoint as a Hugging Face folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Export")

    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        title="Number format",
        description="Of the exported weights; bfloat16 halves the size and rounds.",
    )
