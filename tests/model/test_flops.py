"""Operation counts against published utilisation figures and against torch's own counter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.cache import KVCache
from model.flops import (
    decode_flops_per_token,
    flops_per_token,
    forward_flops_per_token,
    kv_cache_bytes,
    parameter_counts,
)
from model.llama import Llama
from model.presets import preset

A100_PEAK = 312e12  # dense bf16, FLOP/s


@pytest.mark.parametrize(
    ("name", "tokens_per_second", "percent", "percent_without_embedding"),
    [
        ("7B", 1.0e12 / 82_432 / 3600, 47.1, 46.3),
        ("13B", 1.0e12 / 135_168 / 3600, 54.8, 54.1),
        ("33B", 1.4e12 / 530_432 / 3600, 48.2, 47.9),
        ("65B", 1.4e12 / 1_022_362 / 3600, 49.7, 49.5),
    ],
)
def test_utilisation_of_the_papers_runs(
    name: str, tokens_per_second: float, percent: float, percent_without_embedding: float
) -> None:
    """Tokens over GPU-hours of the paper's Table 15, against training.md section 2."""
    config = preset(name)
    of_peak = 100 * tokens_per_second / A100_PEAK
    assert flops_per_token(config).value * of_peak == pytest.approx(percent, abs=0.06)
    without = flops_per_token(config, embedding=False).value
    assert without * of_peak == pytest.approx(percent_without_embedding, abs=0.06)


def test_forward_equals_torchs_counter(make_model: Callable[..., Llama]) -> None:
    model = make_model(kv_heads=2)
    norms = (2 * model.config.layers + 1) * model.config.dim
    T = 16
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        model(torch.zeros(1, T, dtype=torch.long))
    # The counter knows matrix products alone; ours has the norms' few weights in N.
    ours = forward_flops_per_token(model.config, T).value - 2 * norms
    assert counter.get_total_flops() == ours * T


def test_training_is_three_forwards_and_names_its_formula() -> None:
    config = preset("nano")
    training = flops_per_token(config, 128, embedding=False)
    assert training.value == 3 * forward_flops_per_token(config, 128).value
    assert training.formula == "6N + 12LdT; N without the input embedding; T 128"
    assert flops_per_token(config).formula == "6N + 12LdT; N all parameters; T 256"
    assert decode_flops_per_token(config, 127).value == forward_flops_per_token(config, 128).value


@pytest.mark.parametrize("name", ["nano", "Llama-3.2-1B"])
def test_counts_with_and_without_embeddings(name: str) -> None:
    config = preset(name)
    counts = parameter_counts(config)
    matrix = config.vocab_size * config.dim
    assert counts.embedding == (matrix if config.tied_embeddings else 2 * matrix)
    assert counts.without_embeddings + counts.embedding == counts.total
    assert counts.multiplied == counts.without_embeddings + matrix


def test_cache_size_is_the_buffers() -> None:
    config = preset("nano")
    cache = KVCache(config, rows=3, slots=20)
    assert kv_cache_bytes(config, 3, 20, bytes_per_value=4) == cache.buffer_L2BKSE.nbytes
