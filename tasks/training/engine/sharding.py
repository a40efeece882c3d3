"""How the model lies over the processes: whole in each (DDP), or in parts (FSDP2, HSDP).

The sharded forms are torch's own ``fully_shard``, not Accelerate's plugin around it: without a GPU
Accelerate ignores the plugin and says nothing, and a test on CPUs would test other code than runs
on a cluster. Each block is a unit of its own; embedding, final norm and output head are one more,
which stays gathered from the forward to the backward pass, for both use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from model.llama import Block, Llama
from tasks.training.engine.config import EngineConfig
from tasks.training.engine.loss import LossModule
from tasks.training.engine.pieces import local

if TYPE_CHECKING:
    from accelerate import Accelerator


def build_module(
    config: EngineConfig, accelerator: Accelerator
) -> tuple[LossModule, torch.nn.Module]:
    """The model with its loss, and what the step calls: the same, or Accelerate's wrapper of it.

    Sharded models are laid out before they have memory: no process ever holds all of one. Their
    parameters are undefined until ``set_initial_weights`` or a checkpoint fills them.
    """
    sharded = config.strategy != "ddp"
    with torch.device("meta" if sharded else "cpu"):
        model = Llama(config.model)
    if config.precision == "fp64":
        model.double()
    for block in model.blocks:
        assert isinstance(block, Block)
        block.recompute = config.recompute
        if config.compile:
            block.compile(dynamic=False)
    module = LossModule(model)
    if not sharded:
        return module, accelerator.prepare(module)
    device = accelerator.device
    shape = (
        (config.world,)
        if config.strategy == "fsdp"
        else (config.world // config.shard, config.shard)
    )
    names = ("replicate", "shard")[-len(shape) :]
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=names)
    # Inputs stay as they are: rotations are in fp32. Parameters and optimizer stay fp32, too, and
    # gradients are added in it.
    narrow = torch.bfloat16 if config.precision == "bf16" else None
    wide = torch.float32 if narrow else None
    policy = MixedPrecisionPolicy(narrow, wide, cast_forward_inputs=False)
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    module.to_empty(device=device)
    return module, module


@torch.no_grad()
def set_initial_weights(model: Llama, values: Iterator[tuple[str, torch.Tensor]]) -> None:
    """Copy this process's rows of whole tensors into the model, one tensor at a time."""
    parameters = dict(model.named_parameters())
    for name, value in values:
        held, piece = local(parameters.pop(name))
        held.copy_(value[piece.start : piece.start + piece.rows] if value.dim() else value)
    assert not parameters, f"no initial values for {sorted(parameters)[:5]}"


def laid_out(module: torch.nn.Module) -> None:
    """Give up what a forward pass without a backward pass left gathered.

    The gathered tensors stand in the place of the parameters, in the type of the passes, and are
    none that the optimizer knows: a checkpoint of them would lack its state.
    """
    if isinstance(module, FSDPModule):
        module.reshard()


@contextmanager
def reducing(module: torch.nn.Module, last: bool) -> Iterator[None]:
    """Backward passes in here add gradients over the processes only when ``last``."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
        yield
    elif isinstance(module, DistributedDataParallel) and not last:
        with module.no_sync():
            yield
    else:
        yield


def clip_gradients(model: torch.nn.Module, limit: float) -> torch.Tensor:
    """Scale the gradients to a global norm of at most ``limit``; returns the norm before, a scalar.

    The same bits on every process.
    """
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


@torch.no_grad()
def gathered(model: Llama, rank: int) -> Llama:
    """The whole model in the first process's host memory; a collective call where it is sharded.

    Other processes get their own part back. The first one needs 4 bytes a parameter for it.
    """
    if not any(isinstance(p, DTensor) for p in model.parameters()):
        return model
    with torch.device("meta"):
        whole = Llama(model.config)
    state = {}
    for name, parameter in model.named_parameters():
        value = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        if rank == 0:
            state[name] = value.detach().cpu()
    if rank:
        return model
    whole.load_state_dict(state, strict=not model.config.tied_embeddings, assign=True)
    if model.config.tied_embeddings:
        whole.output.weight = whole.embedding.weight
    return whole
