"""The ladder: which runs, each an ordinary pretraining run with a cosine to its own end."""

from __future__ import annotations

import math

from pydantic import ConfigDict, Field

from model.config import ModelConfig
from model.flops import parameter_counts
from tasks.scaling.law import LEAST_DISTINCT
from tasks.training.parameters import PretrainingParameters, TrainingParameters


def _shape(dim: int, layers: int, heads: int, hidden: int) -> ModelConfig:
    return ModelConfig(
        dim=dim,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=dim // heads,
        ffn_hidden=hidden,
        vocab_size=4096,
        context=256,
    )


# 0.1M to 1.8M parameters without embeddings, the largest is `nano`; 32 a head, SwiGLU at 8/3 d
# rounded up to 64.
LADDER_SHAPES = (
    _shape(64, 2, 2, 192),
    _shape(96, 3, 3, 256),
    _shape(128, 4, 4, 384),
    _shape(192, 4, 6, 512),
)
# With the shapes above: 12 runs in less than 20 CPU-minutes (docs/log.md).
LADDER_TOKENS = (120_000, 300_000, 750_000)


class LadderParameters(TrainingParameters):
    """Every shape with every token budget. What differs between two runs is shape and budget alone.

    A run's learning rate falls to its last step: the loss of a longer run on its way is no
    measurement of a shorter budget (Hoffmann et al. 2022, section 3.1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Ladder")

    shapes: tuple[ModelConfig, ...] = Field(
        LADDER_SHAPES,
        title="Shapes",
        description="Model shapes, at least three sizes. The vocabulary is the tokenizer's.",
        min_length=1,
        max_length=50,
    )
    tokens: tuple[int, ...] = Field(
        LADDER_TOKENS,
        title="Token budgets",
        description="Training tokens of each shape, at least three; rounded up to whole optimizer "
        "steps.",
        min_length=1,
        max_length=50,
    )
    context: int = Field(
        256,
        title="Sequence length (tokens)",
        description="Tokens of one training sequence, at most each shape's context. LLaMA: 2,048.",
        ge=8,
        le=1 << 24,
    )
    mask_documents: bool = Field(
        False,
        title="Mask documents",
        description="Attention stays inside a document and positions restart with it.",
    )
    global_batch: int = Field(
        8,
        title="Global batch (sequences)",
        description="Sequences of one optimizer step, the same in all runs: the shortest budget "
        "needs enough steps. Paper: 2,048 of 2,048 tokens (Table 2).",
        ge=1,
        le=1 << 20,
    )
    learning_rate: float = Field(
        2e-3,
        title="Peak learning rate",
        description="No unit; the same in all runs, so the largest shape decides what is stable. "
        "Paper: 3.0e-4 for 7B (Table 2); small models take more.",
        gt=0,
        le=1.0,
    )
    validation_tokens: int = Field(
        16_384,
        title="Validation (tokens per source)",
        description="At most this many held-out tokens of each source are scored; 0 = all.",
        ge=0,
    )
    checkpoint_every: int = Field(
        500,
        title="Checkpoint every (steps)",
        description="Optimizer steps between checkpoints; a kill loses at most these.",
        ge=1,
        json_schema_extra={"recipe": False},
    )

    def problems(self) -> list[str]:
        found = super().problems()
        sizes = {parameter_counts(shape).without_embeddings for shape in self.shapes}
        for number, what in ((len(sizes), "sizes"), (len(set(self._steps())), "token budgets")):
            if number < LEAST_DISTINCT:
                found.append(
                    f"{number} distinct {what} are too few for a law: at least {LEAST_DISTINCT}"
                )
        if len(sizes) != len(self.shapes) or len(set(self._steps())) != len(self.tokens):
            found.append("two of the shapes or budgets are the same size or number of steps")
        if len({shape.tied_embeddings for shape in self.shapes}) > 1:
            found.append("shapes with tied and with untied embeddings are no one family")
        if any(number < 1 for number in self.tokens):
            found.append("token budgets must be positive")
        if min(self._steps()) <= self.warmup_steps:
            found.append(
                f"the shortest budget has {min(self._steps())} steps: warmup_steps"
                f" {self.warmup_steps} must be below that"
            )
        short = min(shape.context for shape in self.shapes)
        if self.context > short:
            found.append(f"context {self.context} is longer than a shape's, {short}")
        return found

    def runs(self) -> dict[str, PretrainingParameters]:
        """Pretraining parameters by name, the cheapest first, so that mistakes show early.

        A name says parameters without embeddings and trained tokens: ``N107136-D401408``.
        """
        common = self.model_dump(
            include=set(TrainingParameters.model_fields) | {"context", "mask_documents"}
        )
        step_tokens = self.global_batch * self.context
        made = []
        for shape in self.shapes:
            for steps in self._steps():
                size = parameter_counts(shape).without_embeddings
                parameters = PretrainingParameters(**common, shape=shape, steps=steps)
                name = f"N{size}-D{steps * step_tokens}"
                made.append((size * steps, name, parameters))
        return {name: parameters for _, name, parameters in sorted(made, key=lambda m: m[:2])}

    def _steps(self) -> list[int]:
        return [math.ceil(number / (self.global_batch * self.context)) for number in self.tokens]
