"""The memory formula against what autograd keeps, and its terms against known models."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.config import ModelConfig
from model.llama import Llama
from model.memory import GIB, RUNTIME, TrainingMemory, training_memory
from model.presets import preset


def estimate(config: ModelConfig, **changes: Any) -> TrainingMemory:
    options = {"tokens": 2048, "context": 2048, "bf16": False, "masked": False}
    return training_memory(config, **{**options, "gradients_stay": True, **changes})


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_activations_are_what_autograd_keeps(bf16: bool, kv_heads: int, masked: bool) -> None:
    def kept(layers: int) -> int:
        shape: dict[str, Any] = {
            "dim": 256,
            "heads": 4,
            "ffn_hidden": 768,
            "vocab_size": 64,
            "context": 256,
        }
        model = Llama(ModelConfig(layers=layers, kv_heads=kv_heads, **shape))
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        own_sizes = {p.numel() * 2 for p in model.parameters()}  # cast to bf16: counted as weights
        storages: dict[int, torch.Tensor] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own and storage.nbytes() not in own_sizes:
                storages[storage.data_ptr()] = tensor
            return tensor

        tokens = torch.zeros((8, 256), dtype=torch.long)
        segments = torch.ones_like(tokens) if masked else None
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            model.hidden(tokens, segment_ids_BT=segments)
        return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())

    shape = ModelConfig(
        dim=256, layers=1, heads=4, kv_heads=kv_heads, ffn_hidden=768, vocab_size=64, context=256
    )
    told = estimate(shape, tokens=8 * 256, context=256, bf16=bf16, masked=masked).activations
    assert kept(3) - kept(2) == pytest.approx(told, rel=0.08)


def test_the_paper_s_models_need_sixteen_bytes_a_parameter_and_more() -> None:
    seven = estimate(preset("7B"), bf16=True)
    assert seven.weights + seven.gradients + seven.optimizer == 18 * preset("7B").parameters
    assert 108e9 < seven.total < 150e9
    assert "optimizer 50.2" in str(seven)
    assert estimate(preset("nano"), tokens=16 * 256, context=256).total < 1.0 * GIB


def test_gradients_take_the_place_of_freed_activations() -> None:
    shape = preset("nano")
    alone = estimate(shape, gradients_stay=False)
    assert alone.total == alone.weights + alone.optimizer + RUNTIME + max(
        alone.gradients, alone.activations + alone.loss
    )
    assert estimate(shape).total > alone.total
