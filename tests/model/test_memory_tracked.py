"""The memory formulas against torch's memory trackers, on fake tensors: nothing is allocated."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed._tools.mem_tracker import MemTracker, _MemRefType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from model.config import ModelConfig
from model.llama import Llama
from model.memory import RUNTIME, Recompute, TrainingMemory, inference_working, training_memory
from tasks.training.engine.config import OptimizerConfig
from tasks.training.engine.loss import LossModule
from tasks.training.engine.optimizer import build_optimizer

LINEAR = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default}
CPU = torch.device("cpu")


def shape(**changes: Any) -> ModelConfig:
    base = {"dim": 256, "layers": 4, "heads": 4, "vocab_size": 512, "context": 512}
    return ModelConfig(**(base | changes))


SHAPES = {
    "square": shape(),
    "grouped": shape(dim=192, layers=5, heads=6, kv_heads=2, ffn_hidden=640),
    "wide": shape(dim=384, layers=3, heads=4, ffn_hidden=1536, vocab_size=1024),
    "tied": shape(dim=320, layers=4, heads=5, vocab_size=640, tied_embeddings=True),
}


def keep_linear(_: Any, operation: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
    keep = operation in LINEAR
    return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE


def build(config: ModelConfig, recompute: Recompute) -> LossModule:
    module = LossModule(Llama(config))
    if recompute != "none":
        options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        if recompute == "selective":
            options["context_fn"] = functools.partial(
                create_selective_checkpoint_contexts, keep_linear
            )
        for block in module.model.blocks:
            block.forward = functools.partial(checkpoint, block.forward, **options)
    return module


@contextmanager
def fake_processes(count: int) -> Iterator[None]:
    dist.init_process_group("fake", rank=0, world_size=count, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def sizes(tracker: MemTracker, kind: str = "current") -> dict[str, int]:
    found = tracker.get_tracker_snapshot(kind)[CPU]
    return {getattr(name, "value", name): size for name, size in found.items()}


def tracked(
    config: ModelConfig, recompute: Recompute, bf16: bool, rows: int, mesh: tuple[int, ...] = ()
) -> tuple[dict[str, int], dict[str, int]]:
    """Sizes right after the forward pass and at the peak of the second optimizer step, whose
    gradients exist from its start."""
    if mesh:
        names = ("replicate", "shard")[-len(mesh) :]
        devices = init_device_mesh("cpu", mesh, mesh_dim_names=names)
    with FakeTensorMode(allow_non_fake_inputs=True):
        module = build(config, recompute)
        if mesh:
            policy = MixedPrecisionPolicy()
            if bf16:
                policy = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)
            for block in module.model.blocks:
                fully_shard(block, mesh=devices, mp_policy=policy)
            fully_shard(module, mesh=devices, mp_policy=policy, reshard_after_forward=False)
        optimizer = build_optimizer(module.model, OptimizerConfig(learning_rate=1e-3))
        tokens = torch.zeros((rows, config.context), dtype=torch.long)
        mask = torch.ones((rows, config.context))

        def loss() -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and not mesh):
                result: torch.Tensor = module(tokens, tokens, mask)
                return result

        loss().backward()
        optimizer.step()
        if mesh:
            tracker: MemTracker = FSDPMemTracker(module, optimizer)
        else:
            tracker = MemTracker()
            tracker.track_external(module, optimizer)
            for parameter in module.parameters():
                tracker._update_and_maybe_create_winfos(parameter.grad, _MemRefType.GRAD)
        with tracker:
            total = loss()
            after = sizes(tracker)
            total.backward()
            optimizer.step()
        return after, sizes(tracker, "peak")


def told(config: ModelConfig, rows: int, bf16: bool, **changes: Any) -> TrainingMemory:
    return training_memory(
        config,
        tokens=rows * config.context,
        context=config.context,
        bf16=bf16,
        masked=False,
        gradients_stay=True,
        **changes,
    )


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize(
    ("name", "bf16"),
    [("square", True), ("grouped", False), ("wide", True), ("tied", False)],
)
def test_one_process_is_within_ten_percent_of_the_tracker(
    name: str, bf16: bool, recompute: Recompute
) -> None:
    config = SHAPES[name]
    after, peak = tracked(config, recompute, bf16, rows=8)
    memory = told(config, 8, bf16, recompute=recompute)
    assert memory.weights - memory.cast == pytest.approx(peak["Parameter"], rel=1e-3)
    assert memory.gradients == pytest.approx(peak["Gradient"], rel=1e-3)
    assert memory.optimizer == pytest.approx(peak["Optstate"], rel=1e-3)
    # The last norm and the gradients of the loss are in the tracker's activations as well.
    tail = _tail(config, 8, bf16, sharded=False)
    cast = memory.cast if recompute == "none" else 0
    assert memory.activations + cast + tail == pytest.approx(after["Activation"], rel=0.05)
    assert memory.total - RUNTIME == pytest.approx(peak["Total"], rel=0.1)


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize(
    ("name", "bf16", "mesh"),
    [
        ("square", True, (8,)),
        ("wide", False, (8,)),
        ("grouped", True, (2, 4)),
    ],
    ids=["fsdp-bf16", "fsdp-fp32", "hsdp-bf16"],
)
def test_a_sharded_model_is_within_ten_percent_of_the_tracker(
    name: str, bf16: bool, mesh: tuple[int, ...], recompute: Recompute
) -> None:
    config = SHAPES[name]
    with fake_processes(8):
        after, peak = tracked(config, recompute, bf16, rows=8, mesh=mesh)
    memory = told(config, 8, bf16, recompute=recompute, shard=mesh[-1])
    assert memory.weights == pytest.approx(peak["Sharded Param"], rel=0.01)
    assert memory.gradients == pytest.approx(peak["Sharded Grad"], rel=0.01)
    assert memory.optimizer == pytest.approx(peak["OptState"], rel=0.01)
    tail = _tail(config, 8, bf16, sharded=True)
    assert memory.activations + tail == pytest.approx(after["Activation"], rel=0.05)
    assert memory.total - RUNTIME == pytest.approx(peak["Total"], rel=0.1)


def test_a_sharded_model_accumulates_whole_gradients() -> None:
    """Micro-batches but the last add up without a reduction, as the engine's do."""
    config = SHAPES["wide"]
    with fake_processes(8):
        mesh = init_device_mesh("cpu", (8,))
        with FakeTensorMode(allow_non_fake_inputs=True):
            module = build(config, "full")
            policy = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)
            for block in module.model.blocks:
                fully_shard(block, mesh=mesh, mp_policy=policy)
            fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
            module.set_requires_gradient_sync(False)
            tokens = torch.zeros((1, config.context), dtype=torch.long)
            tracker = FSDPMemTracker(module)
            with tracker:
                module(tokens, tokens, torch.ones(tokens.shape)).backward()
            left = sizes(tracker)
    whole = told(config, 1, True, shard=8, accumulates=True).gradients
    once = told(config, 1, True, shard=8).gradients
    assert whole - once == 4 * config.parameters
    held = left["Total"] - left["Sharded Param"]
    assert held == pytest.approx(whole - once + 2 * _root(config), rel=0.1)


def _root(config: ModelConfig) -> int:
    """Parameters that stay gathered: embedding, last norm, head."""
    return config.embedding_parameters + config.dim


def _tail(config: ModelConfig, rows: int, bf16: bool, *, sharded: bool) -> int:
    """After the last block: what the norm keeps, the gradients that the loss has made."""
    values = rows * config.context * config.dim
    head = config.vocab_size * config.dim
    return values * 8 + head * 2 if bf16 and sharded else values * 12 + head * 4


@pytest.mark.parametrize("name", ["square", "wide"])
def test_prefill_is_within_ten_percent_of_the_tracker(name: str) -> None:
    config = SHAPES[name]
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        torch.set_default_dtype(torch.float16)
        try:
            model = Llama(config)
        finally:
            torch.set_default_dtype(torch.float32)
        tracker = MemTracker()
        tracker.track_external(model)
        before = sizes(tracker)["Total"]
        with tracker:
            model.output(model.hidden(torch.zeros((1, 512), dtype=torch.long))[:, -1]).float()
        working = sizes(tracker, "peak")["Total"] - before
    assert inference_working(config, 1, 512) == pytest.approx(working, rel=0.1)
