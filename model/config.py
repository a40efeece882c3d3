"""Shape of a LLaMA-family decoder, and nothing about how it is trained."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


def swiglu_hidden(dim: int, multiple_of: int = 256, multiplier: float | None = None) -> int:
    """Hidden width of SwiGLU: 2/3 of 4*dim, times ``multiplier``, rounded up to ``multiple_of``.

    The paper's section 2.2 says (2/3)4d; the rounding and, since Llama 2, the multiplier are in
    Meta's released code only. Both intermediate results are cut to integers there, so here too.
    """
    hidden = int(2 * 4 * dim / 3)
    if multiplier is not None:
        hidden = int(multiplier * hidden)
    return multiple_of * math.ceil(hidden / multiple_of)


class RopeScaling(BaseModel):
    """Frequency scaling of Llama 3.1 and later: long wavelengths are stretched by ``factor``."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="RoPE scaling")

    factor: float = Field(
        8.0,
        title="Factor",
        description="Stretch of the longest wavelengths, no unit. 8 in Llama 3.1, 32 in 3.2.",
        ge=1.0,
        le=1024.0,
    )
    low_freq: float = Field(
        1.0,
        title="Low frequency factor",
        description="Wavelengths above original_context / low_freq are stretched in full, no unit. "
        "Source: Llama 3.1 params.json.",
        gt=0.0,
        le=1024.0,
    )
    high_freq: float = Field(
        4.0,
        title="High frequency factor",
        description="Wavelengths below original_context / high_freq stay as they are, no unit. "
        "Source: Llama 3.1 params.json.",
        gt=0.0,
        le=1024.0,
    )
    original_context: int = Field(
        8192,
        title="Original context",
        description="Context before the stretch, tokens. Source: Llama 3.1 params.json.",
        ge=1,
        le=1 << 24,
    )

    @model_validator(mode="after")
    def _check(self) -> RopeScaling:
        if self.high_freq <= self.low_freq:
            raise ValueError(
                f"high_freq ({self.high_freq}) must be above low_freq ({self.low_freq}): "
                "between them the frequencies are interpolated"
            )
        return self


class ModelConfig(BaseModel):
    """Everything that fixes the parameters of a model and the meaning of its tokens' positions.

    ``kv_heads``, ``head_dim`` and ``ffn_hidden`` may be left out: they become ``heads``,
    ``dim // heads`` and ``swiglu_hidden(dim)``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Model")

    dim: int = Field(
        title="Dimension",
        description="Width of the residual stream. Source: paper, Table 2.",
        ge=8,
        le=1 << 17,
    )
    layers: int = Field(
        title="Layers",
        description="Number of decoder blocks. Source: paper, Table 2.",
        ge=1,
        le=1024,
    )
    heads: int = Field(
        title="Heads",
        description="Query heads of a block. Source: paper, Table 2.",
        ge=1,
        le=1024,
    )
    kv_heads: int = Field(
        title="Key/value heads",
        description="Heads of keys and values; fewer than `heads` is grouped-query attention "
        "(Llama 2 70B and later).",
        ge=1,
        le=1024,
    )
    head_dim: int = Field(
        title="Head dimension",
        description="Width of one head; even, for RoPE turns pairs. 128 in the paper's sizes.",
        ge=2,
        le=1024,
    )
    ffn_hidden: int = Field(
        title="SwiGLU hidden width",
        description="2/3 * 4 * dim rounded up to 256 in the paper's sizes (section 2.2 and code).",
        ge=1,
        le=1 << 20,
    )
    vocab_size: int = Field(
        title="Vocabulary",
        description="Number of token ids. 32,000 in Llama 1 and 2.",
        ge=4,
        le=1 << 20,
    )
    context: int = Field(
        title="Context",
        description="Longest sequence the model is made for, tokens. 2,048 in Llama 1.",
        ge=8,
        le=1 << 24,
    )
    rope_theta: float = Field(
        10_000.0,
        title="RoPE theta",
        description="Base of the rotary wavelengths, no unit. 10,000 in Llama 1 and 2.",
        gt=1.0,
        le=1e9,
    )
    norm_eps: float = Field(
        1e-6,
        title="RMSNorm epsilon",
        description="Added to the mean square, no unit. Source: released params.json.",
        gt=0.0,
        le=0.1,
    )
    tied_embeddings: bool = Field(
        False,
        title="Tied embeddings",
        description="Output head shares the embedding matrix. False in the paper's sizes.",
    )
    rope_scaling: RopeScaling | None = Field(
        None,
        title="RoPE scaling",
        description="Frequency scaling of Llama 3.1 and 3.2; none in the paper's sizes.",
    )

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        dim, heads = data.get("dim"), data.get("heads")
        if isinstance(heads, int):
            data.setdefault("kv_heads", heads)
        if isinstance(dim, int) and isinstance(heads, int) and heads > 0:
            data.setdefault("head_dim", dim // heads)
        if isinstance(dim, int):
            data.setdefault("ffn_hidden", swiglu_hidden(dim))
        return data

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        problems = []
        if self.heads % self.kv_heads:
            problems.append(
                f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})"
            )
        if self.head_dim % 2:
            problems.append(f"head_dim ({self.head_dim}) must be even: RoPE turns pairs")
        if self.dim % self.heads:
            # Not our need but the exported format's: transformers refuses such a LlamaConfig.
            problems.append(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding and the output head; a tied matrix counts once."""
        return self.vocab_size * self.dim * (1 if self.tied_embeddings else 2)

    @property
    def parameters(self) -> int:
        """All parameters, each once (paper.md section 11: no biases anywhere)."""
        attention = self.dim * self.head_dim * 2 * (self.heads + self.kv_heads)
        ffn = 3 * self.dim * self.ffn_hidden
        norms = 2 * self.dim
        return self.layers * (attention + ffn + norms) + self.dim + self.embedding_parameters
