"""The optimizer step, on one screen.

Loss normalisation: the sum of the losses of all valid target tokens of the whole global batch,
divided by the number of those tokens, counted over all ranks and micro-batches before the first
backward pass. So world size and accumulation do not change the gradient (to rounding), also when
ranks hold different numbers of targets. Means of means do: measured, 2e-2 in the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tasks.training.engine.config import EngineConfig
from tasks.training.engine.data import Batch
from tasks.training.engine.distributed import StopRequested, stop_together, sum_over_ranks
from tasks.training.engine.faults import Faults
from tasks.training.engine.guards import leaps, remember
from tasks.training.engine.schedule import learning_rate
from tasks.training.engine.sharding import clip_gradients, reducing
from tasks.training.engine.state import TrainState

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class StepResult:
    """What one step did; equal on all ranks.

    loss: mean over the global batch's targets, nats per token. reason: why the numbers are bad and
    no rank changed its weights; None when all did. stop: a rank was asked to stop. votes: the sums
    of what the ranks gave.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    reason: str | None
    stop: bool
    votes: tuple[float, ...] = ()

    @property
    def applied(self) -> bool:
        """Whether the ranks changed their weights."""
        return self.reason is None


def train_step(
    accelerator: Accelerator,
    module: torch.nn.Module,
    state: TrainState,
    micro_batches: list[Batch],
    config: EngineConfig,
    *,
    stop_requested: bool,
    faults: Faults,
    votes: tuple[float, ...] = (),
    beat: Callable[[], None] = lambda: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> StepResult:
    """One optimizer step over this rank's micro-batches; advances ``state.step``.

    votes: numbers of this rank that are added over the ranks on the way.
    beat: called after each micro-batch, a sign of life within long steps. interrupted: asked
    between micro-batches, on all ranks together: a step may be longer than the time to stop.

    Raises:
        StopRequested: the step was given up on all ranks; the state is as before it.
    """
    device, world, accum = accelerator.device, config.world, config.accumulation
    torch.manual_seed(hash_seed(config.seed, state.step, accelerator.process_index))
    rate = learning_rate(
        state.step,
        peak=config.optimizer.learning_rate,
        warmup_steps=config.schedule.warmup_steps,
        steps=config.steps,
        final_ratio=config.schedule.final_ratio,
    )
    n_local = sum(int(batch.mask_BT.sum()) for batch in micro_batches)
    n_global = int(sum_over_ranks(torch.tensor([n_local], device=device)).item())

    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    for index, batch in enumerate(micro_batches):
        last = index == len(micro_batches) - 1
        with reducing(module, last):  # once, at the end
            b = batch.to(device)
            loss = module(b.tokens_BT, b.targets_BT, b.mask_BT, b.segment_ids_BT, b.positions_BT)
            # DDP averages over ranks and backward() divides by accum: undo both, divide by n.
            accelerator.backward(loss * (world * accum / max(n_global, 1)))
        loss_sum += loss.detach()
        faults.after_pass()
        beat()
        if not last:
            try:
                stop_together(interrupted(), device)
            except StopRequested:
                state.optimizer.zero_grad(set_to_none=True)
                raise
    faults.poison_gradients(state, accelerator.process_index)

    grad_norm = clip_gradients(state.model, config.optimizer.clip)
    # One reduction settles the loss, and decides for all ranks together whether to step or stop.
    norm, sigmas = float(grad_norm), config.spike_sigmas
    wrong = [not math.isfinite(float(loss_sum) + norm), leaps(state.norms, norm, sigmas)]
    flags = torch.tensor([*wrong, stop_requested, *votes], dtype=torch.float64, device=device)
    verdict = sum_over_ranks(torch.cat([loss_sum[None], flags]))
    total, infinite, steep, stop, *counted = verdict.tolist()
    loss = total / max(n_global, 1)
    reason = None
    if infinite:
        reason = "the loss or the gradient is not finite"
    elif steep:
        reason = f"the gradient norm leaps to {norm:.4g}"
    elif leaps(state.losses, loss, sigmas):
        reason = f"the loss leaps to {loss:.4g}"
    faults.before_commit(state, accelerator.process_index)

    if reason is None:
        state.losses, state.norms = remember(state.losses, loss), remember(state.norms, norm)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.tokens += n_global
    return StepResult(loss, norm, rate, n_global, reason, stop > 0, tuple(counted))


def hash_seed(seed: int, step: int, rank: int) -> int:
    """Generator seed of one rank in one step: nothing about randomness needs to be stored."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank) & (2**64 - 1)
    mixed = (mixed ^ (mixed >> 31)) * 0x94D049BB133111EB & (2**64 - 1)
    return mixed >> 1
