"""Memory with shards and recomputation: what must hold for every shape."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.memory import inference_weights, inference_working, training_memory
from model.presets import preset

SHAPE = st.builds(
    lambda heads, kv, layers, vocabulary: ModelConfig(
        dim=64 * heads * kv,
        heads=heads * kv,
        kv_heads=kv,
        layers=layers,
        vocab_size=vocabulary,
        context=2048,
    ),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(64, 50_000),
)
RUN = st.fixed_dictionaries(
    {
        "tokens": st.integers(1, 1 << 16),
        "context": st.just(2048),
        "bf16": st.booleans(),
        "masked": st.booleans(),
        "gradients_stay": st.booleans(),
        "shard": st.sampled_from([1, 2, 8, 64, 2048]),
        "recompute": st.sampled_from(["none", "selective", "full"]),
        "accumulates": st.booleans(),
    }
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(shape=SHAPE, run=RUN)
def test_more_of_anything_never_needs_less(shape: ModelConfig, run: dict[str, Any]) -> None:
    def total(config: ModelConfig = shape, **changes: Any) -> int:
        return training_memory(config, **(run | changes)).total

    assert total(tokens=2 * run["tokens"]) >= total()
    assert total(masked=True) >= total(masked=False)
    assert total(gradients_stay=True) >= total(gradients_stay=False)
    assert total(accumulates=True) >= total(accumulates=False)
    assert total(shape.model_copy(update={"layers": shape.layers + 1})) >= total()
    assert total(shape.model_copy(update={"vocab_size": 2 * shape.vocab_size})) >= total()
    assert total(shape.model_copy(update={"ffn_hidden": 2 * shape.ffn_hidden})) >= total()
    if run["shard"] > 1:
        assert total(shard=2 * run["shard"]) <= total()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(shape=SHAPE, run=RUN)
def test_what_is_computed_again_is_not_kept(shape: ModelConfig, run: dict[str, Any]) -> None:
    kept = [
        training_memory(shape, **(run | {"recompute": name})).activations
        for name in ("none", "selective", "full")
    ]
    assert kept[0] > kept[1] > kept[2] > 0


def test_shards_divide_the_states_of_the_papers_largest_model() -> None:
    options: dict[str, Any] = {
        "tokens": 2048,
        "context": 2048,
        "bf16": True,
        "masked": False,
        "gradients_stay": True,
    }
    n = preset("65B").parameters
    for shard in (8, 2048):
        memory = training_memory(preset("65B"), shard=shard, **options)
        states = memory.weights + memory.gradients + memory.optimizer
        assert abs(states - 16 * n / shard) < 16
        assert memory.cast == 0 and memory.gathered > 0 and memory.communication > 0
        assert "communication" in str(memory)


def test_weights_in_int8_are_about_half() -> None:
    shape = preset("13B")
    assert inference_weights(shape, int8=False) == 2 * shape.parameters
    assert 0.5 < inference_weights(shape, int8=True) / (2 * shape.parameters) < 0.52
    assert inference_working(shape, 1, 4096) > inference_working(shape, 1, 2048)
    assert inference_working(shape, 8192, 1) > inference_working(shape, 1, 1)
