"""Schedule, loss, data shaping and optimizer groups: pure functions, exact answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model.config import ModelConfig
from model.llama import Llama
from tasks.training.engine import loss as loss_code
from tasks.training.engine.config import EngineConfig, OptimizerConfig
from tasks.training.engine.data import instruction_batch, micro_batches, token_batch
from tasks.training.engine.loss import LossModule, summed_loss
from tasks.training.engine.optimizer import build_optimizer
from tasks.training.engine.schedule import learning_rate
from tests.tasks.training.support import BOS, TINY_MODEL, config_values


def rate(step: int) -> float:
    return learning_rate(step, peak=3e-4, warmup_steps=10, steps=111, final_ratio=0.1)


def test_learning_rate_warms_up_linearly_and_ends_at_a_tenth() -> None:
    assert rate(0) == pytest.approx(3e-5)
    assert rate(4) == pytest.approx(1.5e-4)
    assert rate(9) == 3e-4 and rate(10) == 3e-4
    assert rate(60) == pytest.approx(3e-4 * (0.1 + 0.9 / 2))  # half way down the cosine
    assert rate(110) == pytest.approx(3e-5)
    assert all(rate(s) >= rate(s + 1) for s in range(10, 110))


def test_learning_rate_without_warm_up_starts_at_the_peak() -> None:
    assert learning_rate(0, peak=1.0, warmup_steps=0, steps=1) == 1.0


@pytest.mark.parametrize("chunk", [64 * 16, 4 * 1024 * 1024])
def test_chunked_loss_and_gradients_equal_cross_entropy(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_code, "CHUNK_LOGITS", chunk)
    torch.manual_seed(0)
    x = torch.randn(3, 23, 8, requires_grad=True)
    weight = torch.randn(64, 8, requires_grad=True)
    targets = torch.randint(0, 64, (3, 23))
    mask = torch.rand(3, 23) < 0.6
    (summed_loss(x, weight, targets, mask) * 0.25).backward()
    ours = (x.grad, weight.grad)
    x.grad = weight.grad = None
    every = F.cross_entropy((x @ weight.T).flatten(0, 1), targets.flatten(), reduction="none")
    ((every * mask.flatten()).sum() * 0.25).backward()
    for mine, reference in zip(ours, (x.grad, weight.grad), strict=True):
        assert mine is not None and reference is not None
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=2e-6)


def test_fully_masked_batch_gives_zero_loss_and_zero_gradients() -> None:
    x = torch.randn(2, 4, 8, requires_grad=True)
    weight = torch.randn(64, 8, requires_grad=True)
    loss = summed_loss(x, weight, torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, 4))
    loss.backward()
    assert loss.item() == 0.0
    assert x.grad is not None and x.grad.abs().max() == 0.0
    assert weight.grad is not None and weight.grad.abs().max() == 0.0


def test_bf16_autocast_gradients_are_close_to_fp32() -> None:
    model = Llama(ModelConfig.model_validate(TINY_MODEL))
    model.init_weights(1)
    module = LossModule(model)
    tokens = torch.randint(0, 64, (2, 16))
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = module(tokens, tokens, torch.ones_like(tokens))
        loss.backward()
        assert loss.dtype == torch.float32
        gradients.append([p.grad for p in model.parameters()])
        model.zero_grad(set_to_none=True)
    for exact, rough in zip(*gradients, strict=True):
        assert exact is not None and rough is not None and rough.dtype == torch.float32
        assert (exact - rough).norm() < 0.05 * exact.norm()


def test_matrices_decay_and_gains_do_not() -> None:
    model = Llama(ModelConfig.model_validate(TINY_MODEL))
    optimizer = build_optimizer(model, OptimizerConfig(learning_rate=1e-3))
    decayed, plain = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0.0
    assert all(p.dim() == 2 for p in decayed["params"])
    assert len(plain["params"]) == 2 * TINY_MODEL["layers"] + 1
    held = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert held == model.config.parameters


def test_document_mask_restarts_positions_and_keeps_every_target() -> None:
    ids = np.array([[7, 2, BOS, 8, 9, 2, BOS, 5]])
    batch = token_batch(ids, mask_bos_id=BOS)
    assert batch.segment_ids_BT is not None and batch.positions_BT is not None
    assert batch.segment_ids_BT.tolist() == [[1, 1, 2, 2, 2, 2, 3]]
    assert batch.positions_BT.tolist() == [[0, 1, 0, 1, 2, 3, 0]]
    assert batch.targets_BT.tolist() == [[2, BOS, 8, 9, 2, BOS, 5]]
    assert int(batch.mask_BT.sum()) == 7


def test_instruction_loss_mask_is_shifted_and_never_crosses_examples() -> None:
    raw = {
        "input_ids": np.array([[1, 10, 11, 12, 1, 20, 21, 0]]),
        "segment_ids": np.array([[1, 1, 1, 1, 2, 2, 2, 0]]),
        "positions": np.array([[0, 1, 2, 3, 0, 1, 2, 0]]),
        "loss_mask": np.array([[0, 0, 1, 1, 1, 0, 1, 1]]),
    }
    batch = instruction_batch(raw, context=7)
    assert batch.tokens_BT.tolist() == [[1, 10, 11, 12, 1, 20, 21]]
    # Targets 11 and 12, then 21; not the first token of example 2, not padding.
    assert batch.targets_BT[batch.mask_BT].tolist() == [11, 12, 21]
    with pytest.raises(ValueError, match="pack them again"):
        instruction_batch(raw, context=6)


@pytest.mark.parametrize(("world", "micro"), [(1, 8), (1, 2), (2, 4), (2, 1), (4, 2)])
def test_every_row_is_trained_on_once_at_any_split(tmp_path, world: int, micro: int) -> None:
    config = EngineConfig(**config_values(tmp_path, tmp_path, world=world, micro_batch=micro))
    whole = token_batch(np.arange(8 * 17).reshape(8, 17))
    seen = []
    for rank in range(world):
        parts = micro_batches(whole, config, rank)
        assert len(parts) == config.accumulation
        seen += [row for part in parts for row in part.tokens_BT[:, 0].tolist()]
    assert sorted(seen) == whole.tokens_BT[:, 0].tolist()


def test_all_problems_of_a_configuration_are_reported_at_once(tmp_path) -> None:
    values = config_values(tmp_path, tmp_path, micro_batch=3, context=99, steps=2)
    with pytest.raises(ValueError) as caught:
        EngineConfig(**values)
    for part in ("global_batch 8", "context 99", "warmup_steps 3"):
        assert part in str(caught.value)
    assert math.isclose(EngineConfig(**config_values(tmp_path, tmp_path)).optimizer.beta2, 0.95)
