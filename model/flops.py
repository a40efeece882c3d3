"""Arithmetic of a model: counts that rest on its shape alone, each with its formula's name.

Model FLOPs use differs by 2-3 points between the formulas in use, so a figure is worth nothing
without the formula: `FlopsPerToken` carries it. All figures are in floating-point operations (a
multiply-add is two), without recomputation of activations.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.config import ModelConfig


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters, each counted once.

    total: all of them.
    embedding: the input embedding and, if it is a matrix of its own, the output head.
    without_embeddings: blocks and norms.
    multiplied: those that a token is multiplied with, i.e. blocks, norms and the output head; the
        input embedding is only looked up.
    """

    total: int
    embedding: int
    without_embeddings: int
    multiplied: int


@dataclass(frozen=True)
class FlopsPerToken:
    """Operations of one token and the formula that gave them."""

    value: int
    formula: str


def parameter_counts(config: ModelConfig) -> ParameterCounts:
    """Parameter counts with and without embeddings (paper.md section 11)."""
    without = config.parameters - config.embedding_parameters
    return ParameterCounts(
        total=config.parameters,
        embedding=config.embedding_parameters,
        without_embeddings=without,
        multiplied=without + config.vocab_size * config.dim,
    )


def attention_flops_per_key(config: ModelConfig) -> int:
    """Forward operations of one query against one key, all layers: 4 L d (scores and values)."""
    return 4 * config.layers * config.heads * config.head_dim


def flops_per_token(
    config: ModelConfig, context: int | None = None, *, embedding: bool = True
) -> FlopsPerToken:
    """Training, forward and backward: 6 N + 12 L d T (PaLM appendix B; T = context, whole square).

    `embedding=True` has all parameters in N, as in nanoGPT and llm-foundry and in the published
    figures for LLaMA (65B at 380 tokens/s on an A100 = 49.7 %); False leaves the input embedding
    out, as torchtitan does.
    """
    context = config.context if context is None else context
    counts = parameter_counts(config)
    n = counts.total if embedding else counts.multiplied
    name = "N all parameters" if embedding else "N without the input embedding"
    return FlopsPerToken(
        value=6 * n + 3 * attention_flops_per_key(config) * context,
        formula=f"6N + 12LdT; {name}; T {context}",
    )


def forward_flops_per_token(config: ModelConfig, context: int | None = None) -> FlopsPerToken:
    """Forward pass alone, as in scoring and prefill: 2 N + 4 L d T, N without input embedding."""
    context = config.context if context is None else context
    return FlopsPerToken(
        value=2 * parameter_counts(config).multiplied + attention_flops_per_key(config) * context,
        formula=f"2N + 4LdT; N without the input embedding; T {context}",
    )


def decode_flops_per_token(config: ModelConfig, position: int) -> FlopsPerToken:
    """One token generated at `position` with cached keys: 2 N + 4 L d (position + 1)."""
    keys = position + 1
    return FlopsPerToken(
        value=2 * parameter_counts(config).multiplied + attention_flops_per_key(config) * keys,
        formula=f"2N + 4LdS; N without the input embedding; S {keys} cached keys",
    )


def kv_cache_bytes(config: ModelConfig, rows: int, slots: int, bytes_per_value: int = 2) -> int:
    """Size of a KV cache in bytes: 2 L K E values a token."""
    return 2 * config.layers * config.kv_heads * config.head_dim * rows * slots * bytes_per_value
