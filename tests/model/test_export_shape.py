"""An exported folder as other engines read it: vLLM's Llama and llama.cpp's converter.

Neither is installed here. What they ask of a folder is written down from their sources: vLLM's
``LlamaForCausalLM.load_weights`` and ``LlamaConfig``, llama.cpp's ``convert_hf_to_gguf.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from model.llama import Llama
from model.weights import export_hf

SHAPES: list[dict[str, Any]] = [
    {},
    {"kv_heads": 2},
    {"tied_embeddings": True},
]


def tensors(folder: Path) -> dict[str, tuple[str, list[int]]]:
    """Name -> (type, shape), over all files."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as handle:
            names = list(handle.keys())
            parts = [(name, handle.get_slice(name)) for name in names]
            found |= {n: (part.get_dtype(), list(part.get_shape())) for n, part in parts}
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("shard_bytes", [5_000_000_000, 20_000])
def test_names_and_shapes(
    make_model: Callable[..., Llama],
    tokenizer_path: Path,
    tmp_path: Path,
    shape: dict[str, Any],
    shard_bytes: int,
) -> None:
    model = make_model(vocab_size=520, **shape)
    export_hf(model, tokenizer_path, tmp_path, shard_bytes=shard_bytes)
    c = model.config
    kv, head = c.kv_heads * c.head_dim, c.heads * c.head_dim
    expected = {
        "model.embed_tokens.weight": [c.vocab_size, c.dim],
        "model.norm.weight": [c.dim],
    }
    if not c.tied_embeddings:  # both engines take the embedding for a head that is not there
        expected["lm_head.weight"] = [c.vocab_size, c.dim]
    for layer in range(c.layers):
        at = f"model.layers.{layer}."
        expected |= {
            f"{at}input_layernorm.weight": [c.dim],
            f"{at}post_attention_layernorm.weight": [c.dim],
            f"{at}self_attn.q_proj.weight": [head, c.dim],
            f"{at}self_attn.k_proj.weight": [kv, c.dim],
            f"{at}self_attn.v_proj.weight": [kv, c.dim],
            f"{at}self_attn.o_proj.weight": [c.dim, head],
            f"{at}mlp.gate_proj.weight": [c.ffn_hidden, c.dim],
            f"{at}mlp.up_proj.weight": [c.ffn_hidden, c.dim],
            f"{at}mlp.down_proj.weight": [c.dim, c.ffn_hidden],
        }
    found = tensors(tmp_path)
    assert {name: dims for name, (_, dims) in found.items()} == expected
    assert {kind for kind, _ in found.values()} == {"F32"}
    index = tmp_path / "model.safetensors.index.json"
    if index.exists():  # every tensor is in the file that the index names
        told = json.loads(index.read_text())["weight_map"]
        assert set(told) == set(expected)
        for name, file in told.items():
            with safe_open(tmp_path / file, framework="pt") as handle:
                assert handle.get_slice(name).get_shape() == expected[name]
    assert index.exists() == (shard_bytes == 20_000)


def test_configuration_that_the_engines_read(
    make_model: Callable[..., Llama], tokenizer_path: Path, tmp_path: Path
) -> None:
    model = make_model(vocab_size=520, kv_heads=2)
    export_hf(model, tokenizer_path, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    c = model.config
    assert config["architectures"] == ["LlamaForCausalLM"] and config["model_type"] == "llama"
    # vLLM: LlamaConfig; both generations of RoPE fields.
    assert config["rope_parameters"]["rope_theta"] == config["rope_theta"] == c.rope_theta
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert config["hidden_act"] == "silu" and not config["attention_bias"]
    assert config["tie_word_embeddings"] is False and config["rope_scaling"] is None
    # llama.cpp: TextModel.set_gguf_parameters and LlamaModel, whose heads are undone by these.
    wanted = {
        "num_hidden_layers": c.layers,
        "max_position_embeddings": c.context,
        "hidden_size": c.dim,
        "intermediate_size": c.ffn_hidden,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "rms_norm_eps": c.norm_eps,
        "vocab_size": c.vocab_size,
    }
    assert {name: config[name] for name in wanted} == wanted
    # llama.cpp takes the vocabulary from SentencePiece's own file where it is there.
    assert (tmp_path / "tokenizer.model").read_bytes() == tokenizer_path.read_bytes()
