"""The decoder against itself: masks, positions, cache, initialisation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from model.cache import KVCache
from model.llama import Llama
from model.presets import preset

TOKENS = torch.randint(0, 97, (2, 24), generator=torch.Generator().manual_seed(7))
SHAPES = [{}, {"kv_heads": 2}]


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_segments_equal_separate_runs(make_model: Callable[..., Llama], shape: dict) -> None:
    model = make_model(**shape)
    lengths = (9, 5, 7)  # and 3 of padding
    segments_BT = torch.zeros(1, 24, dtype=torch.long)
    positions_BT = torch.zeros(1, 24, dtype=torch.long)
    start = 0
    for number, length in enumerate(lengths, start=1):
        segments_BT[0, start : start + length] = number
        positions_BT[0, start : start + length] = torch.arange(length)
        start += length
    packed_BTV = model(TOKENS[:1], segment_ids_BT=segments_BT, positions_BT=positions_BT)
    start = 0
    for length in lengths:
        alone_BTV = model(TOKENS[:1, start : start + length])
        torch.testing.assert_close(
            packed_BTV[:, start : start + length], alone_BTV, atol=1e-5, rtol=0
        )
        start += length
    assert packed_BTV.isfinite().all()
    # Without segments the second document sees the first: the mask is what made them equal.
    assert (model(TOKENS[:1])[0, 9:14] - packed_BTV[0, 9:14]).abs().max() > 0.01


@torch.no_grad()
def test_one_segment_is_plain_causal_attention(make_model: Callable[..., Llama]) -> None:
    model = make_model()
    ones_BT = torch.ones_like(TOKENS)
    torch.testing.assert_close(
        model(TOKENS, segment_ids_BT=ones_BT), model(TOKENS), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_future_tokens_change_nothing(make_model: Callable[..., Llama]) -> None:
    model = make_model()
    changed = TOKENS.clone()
    changed[:, 12:] = 3
    torch.testing.assert_close(model(TOKENS)[:, :12], model(changed)[:, :12], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pieces", [[24], [7, 1, 1, 15], [1] * 24])
def test_cached_equals_full(
    make_model: Callable[..., Llama], shape: dict, pieces: list[int]
) -> None:
    model = make_model(**shape)
    cache = KVCache(model.config, rows=2, slots=30)
    parts = [model(part, cache=cache) for part in TOKENS.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), model(TOKENS), atol=1e-5, rtol=0)
    assert cache.lengths_B.tolist() == [24, 24]


@torch.no_grad()
def test_cache_rows_are_kept_and_repeated(make_model: Callable[..., Llama]) -> None:
    model = make_model()
    tokens = torch.cat((TOKENS, TOKENS.flip(1)))
    full = model(tokens)
    cache = KVCache(model.config, rows=4, slots=24)
    model(tokens[:, :20], cache=cache)
    twice = cache.select(torch.tensor([2, 2, 1]))
    torch.testing.assert_close(
        model(tokens[[2, 2, 1], 20:], cache=twice), full[[2, 2, 1], 20:], atol=1e-5, rtol=0
    )
    order = cache.keep([1, 3])
    assert sorted(order) == [1, 3]
    torch.testing.assert_close(
        model(tokens[order, 20:], cache=cache), full[order, 20:], atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_explicit_mask_shares_one_prefix(make_model: Callable[..., Llama]) -> None:
    """Two endings behind one beginning, in one row: each sees the beginning and itself."""
    model = make_model()
    prefix, a, b = TOKENS[0, :10], TOKENS[0, 10:14], TOKENS[1, :6]
    row = torch.cat((prefix, a, b))[None]
    positions = torch.cat((torch.arange(14), torch.arange(10, 16)))[None]
    visible = torch.ones(20, 20, dtype=torch.bool).tril()
    visible[14:, 10:14] = False
    packed = model(row, positions_BT=positions, mask_BTS=visible[None])
    alone = model(torch.cat((prefix, b))[None])
    torch.testing.assert_close(packed[0, 14:], alone[0, 10:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_arguments_that_do_not_go_together(make_model: Callable[..., Llama]) -> None:
    model = make_model()
    cache = KVCache(model.config, rows=2, slots=8)
    with pytest.raises(ValueError, match="segment_ids_BT goes with neither"):
        model(TOKENS, cache=cache, segment_ids_BT=TOKENS)
    with pytest.raises(ValueError, match="8 slots, position 23 has none"):
        model(TOKENS, cache=cache)
    with torch.enable_grad(), pytest.raises(ValueError, match="for inference"):
        model(TOKENS[:, :4], cache=cache)


def test_head_on_chosen_positions(make_model: Callable[..., Llama]) -> None:
    model = make_model()
    wanted = model.output(model.hidden(TOKENS)[:, [3, 20]])
    torch.testing.assert_close(wanted, model(TOKENS)[:, [3, 20]], atol=1e-6, rtol=0)


def test_initialisation_is_a_function_of_the_seed() -> None:
    models = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        model = Llama(preset("nano"))
        before = torch.get_rng_state()
        model.init_weights(5)
        assert torch.equal(torch.get_rng_state(), before)
        models.append(model)
    a, b = (dict(model.named_parameters()) for model in models)
    assert all(torch.equal(a[name], b[name]) for name in a)
    models[1].init_weights(6)
    assert not torch.equal(a["embedding.weight"], b["embedding.weight"])

    assert a["embedding.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert a["blocks.0.attention.qkv.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    residual = 0.02 / (2 * 4) ** 0.5
    assert a["blocks.3.ffn.down.weight"].std().item() == pytest.approx(residual, rel=0.02)
    assert a["blocks.1.attention.out.weight"].std().item() == pytest.approx(residual, rel=0.02)
    assert a["norm.weight"].unique().tolist() == [1.0]


def test_meta_device_has_no_weights_to_draw() -> None:
    with torch.device("meta"):
        model = Llama(preset("nano"))
    with pytest.raises(ValueError, match="meta device"):
        model.init_weights(0)


def test_norm_divides_in_float32(make_model: Callable[..., Llama]) -> None:
    # 300 squared is beyond float16; a norm that squares in the input's type gives infinity.
    norm = make_model().norm
    x = torch.full((1, 1, 32), 300.0)
    half = norm.half()(x.half())
    torch.testing.assert_close(half.float(), norm.float()(x), atol=2e-3, rtol=0)
