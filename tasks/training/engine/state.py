"""``TrainState``: everything a checkpoint holds, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tasks.tokens.order import position_of_step
from tasks.training.engine.checkpoint import Reader
from tasks.training.engine.pieces import like, local

Tensors = dict[str, torch.Tensor]


@dataclass
class TrainState:
    """The whole state of a run.

    There is no generator state: before each step the generators are seeded from (seed, step,
    rank), and the order of data is a function of the step, so ``step`` stands for both.

    step: optimizer steps done (skipped ones count: they used up their learning rate).
    tokens: target tokens of those steps.
    skipped: data batches that are passed over, sorted; grows at a roll-back.
    streak: data batches of the present run of consecutive bad steps.
    bad_batches: all that were bad, sorted, each once, however often its step was done.
    losses, norms: of the last applied steps, for the guards.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    tokens: int = 0
    skipped: list[int] = field(default_factory=list)
    streak: list[int] = field(default_factory=list)
    bad_batches: list[int] = field(default_factory=list)
    rollbacks: int = 0
    loss: float | None = None
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    @property
    def bad_steps(self) -> int:
        """How many batches were bad."""
        return len(self.bad_batches)

    def data_batch(self) -> int:
        """Which batch of the order the next step trains on: the step, skips passed over."""
        return position_of_step(self.step, self.skipped)

    def scalars(self) -> dict[str, Any]:
        """Everything but tensors, as JSON values."""
        names = ("step", "tokens", "skipped", "streak", "bad_batches", "rollbacks", "loss")
        return {name: getattr(self, name) for name in (*names, "losses", "norms")}

    def tensors(self) -> dict[str, Tensors]:
        """File stem -> tensors, as they lie; tied weights appear once, under their first name."""
        optimizer: Tensors = {}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                optimizer[f"{key}.{name}"] = value.detach()
        weights = {n: p.detach() for n, p in self.model.named_parameters()}
        return {"model": weights, "optimizer": optimizer}

    @torch.no_grad()
    def restore(self, saved: Reader) -> None:
        """Take over a checkpoint, in place; this process reads its own pieces.

        Raises:
            ValueError: it is of a model with other tensors.
        """
        for name, value in saved.scalars["state"].items():
            setattr(self, name, list(value) if isinstance(value, list) else value)
        parameters = dict(self.model.named_parameters())
        if parameters.keys() != set(saved.names("model")):
            different = sorted(parameters.keys() ^ set(saved.names("model")))
            raise ValueError(f"checkpoint and model differ in the tensors {different[:5]}")
        for name, parameter in parameters.items():
            held, piece = local(parameter)
            held.copy_(saved.read("model", name, piece))
        kept = {name.partition(".")[2] for name in saved.names("optimizer")}
        if kept and kept != parameters.keys():
            raise ValueError(
                f"checkpoint lacks the optimizer's state of {sorted(parameters.keys() - kept)[:5]}"
            )
        self.optimizer.state.clear()
        for full_name in saved.names("optimizer"):
            key, _, name = full_name.partition(".")
            parameter = parameters[name]
            if saved.shape("optimizer", full_name):
                held, piece = local(parameter)
                value = like(parameter, saved.read("optimizer", full_name, piece).to(held.device))
            else:  # the count of steps: fused kernels want it beside a GPU's parameters
                value = saved.read("optimizer", full_name)
                value = value.to(parameter.device) if parameter.is_cuda else value
            self.optimizer.state[parameter][key] = value

    def reset(self) -> None:
        """As before the first step, but for the weights."""
        for name, value in TrainState(self.model, self.optimizer).scalars().items():
            setattr(self, name, value)
        self.optimizer.state.clear()
