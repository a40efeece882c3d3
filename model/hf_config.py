"""Model shapes to and from the ``config.json`` of Hugging Face's Llama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.config import ModelConfig, RopeScaling


def to_hf_config(
    config: ModelConfig, dtype: str, bos_id: int | None = None, eos_id: int | None = None
) -> dict[str, Any]:
    """LlamaConfig fields. RoPE is written twice: `rope_parameters` is what transformers 5 reads,
    `rope_theta` and `rope_scaling` what transformers 4 and most other engines read."""
    rope: dict[str, Any] = {"rope_type": "default"}
    if config.rope_scaling is not None:
        rope = {
            "rope_type": "llama3",
            "factor": config.rope_scaling.factor,
            "low_freq_factor": config.rope_scaling.low_freq,
            "high_freq_factor": config.rope_scaling.high_freq,
            "original_max_position_embeddings": config.rope_scaling.original_context,
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "dtype": dtype,
        "torch_dtype": dtype,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.dim,
        "initializer_range": 0.02,
        "intermediate_size": config.ffn_hidden,
        "max_position_embeddings": config.context,
        "mlp_bias": False,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {**rope, "rope_theta": config.rope_theta},
        "rope_scaling": None if config.rope_scaling is None else rope,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied_embeddings,
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def from_hf_config(fields: Mapping[str, Any]) -> ModelConfig:
    """Shape of a Llama in Hugging Face's format, of either generation of RoPE fields.

    Raises ValueError listing all fields that describe a model which `model.llama` is not.
    """
    problems = []
    if fields.get("model_type") != "llama":
        problems.append(f"model_type is {fields.get('model_type')!r}, only 'llama' is known")
    if fields.get("hidden_act", "silu") != "silu":
        problems.append(f"hidden_act is {fields['hidden_act']!r}, must be 'silu'")
    for name in ("attention_bias", "mlp_bias"):
        if fields.get(name):
            problems.append(f"{name} is set: biases are not supported")
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for name in (*needed, "vocab_size"):
        if not isinstance(fields.get(name), int):
            problems.append(f"{name} is missing or no whole number")
    rope = {**(fields.get("rope_scaling") or {}), **(fields.get("rope_parameters") or {})}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    scaling = None
    if rope_type == "llama3":
        scaling = RopeScaling(
            factor=rope["factor"],
            low_freq=rope["low_freq_factor"],
            high_freq=rope["high_freq_factor"],
            original_context=rope["original_max_position_embeddings"],
        )
    elif rope_type != "default":
        problems.append(f"RoPE type {rope_type!r} is not supported (known: default, llama3)")
    if problems:
        raise ValueError("; ".join(problems))
    heads = fields["num_attention_heads"]
    return ModelConfig(
        dim=fields["hidden_size"],
        layers=fields["num_hidden_layers"],
        heads=heads,
        kv_heads=fields.get("num_key_value_heads") or heads,
        head_dim=fields.get("head_dim") or fields["hidden_size"] // heads,
        ffn_hidden=fields["intermediate_size"],
        vocab_size=fields["vocab_size"],
        context=fields.get("max_position_embeddings", 2048),
        rope_theta=rope.get("rope_theta", fields.get("rope_theta", 10_000.0)),
        norm_eps=fields.get("rms_norm_eps", 1e-6),
        tied_embeddings=bool(fields.get("tie_word_embeddings", False)),
        rope_scaling=scaling,
    )
