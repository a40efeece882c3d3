"""``TrainState``: everything a checkpoint holds, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tasks.tokens.order import position_of_step

Tensors = dict[str, torch.Tensor]


@dataclass
class TrainState:
    """The whole state of a run.

    There is no generator state: before each step the generators are seeded from (seed, step,
    rank), and the order of data is a function of the step, so ``step`` stands for both.

    step: optimizer steps done (skipped ones count: they used up their learning rate).
    tokens: target tokens of those steps.
    skipped: data batches that are passed over, sorted; grows at a roll-back.
    streak: data batches of the present run of consecutive non-finite steps.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    tokens: int = 0
    skipped: list[int] = field(default_factory=list)
    streak: list[int] = field(default_factory=list)
    bad_steps: int = 0
    rollbacks: int = 0
    loss: float | None = None

    def data_batch(self) -> int:
        """Which batch of the order the next step trains on: the step, skips passed over."""
        return position_of_step(self.step, self.skipped)

    def scalars(self) -> dict[str, Any]:
        """Everything but tensors, as JSON values."""
        names = ("step", "tokens", "skipped", "streak", "bad_steps", "rollbacks", "loss")
        return {name: getattr(self, name) for name in names}

    def tensors(self) -> dict[str, Tensors]:
        """File stem -> tensors. Tied weights appear once, under their first name."""
        optimizer: Tensors = {}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                optimizer[f"{key}.{name}"] = value.detach().cpu()
        weights = {n: p.detach().cpu() for n, p in self.model.named_parameters()}
        return {"model": weights, "optimizer": optimizer}

    @torch.no_grad()
    def restore(self, scalars: dict[str, Any], tensors: dict[str, Tensors]) -> None:
        """Take over a checkpoint, in place.

        Values are copied into memory that torch allocated: kernels choose their vector path by
        alignment, and a mapped file's alignment would change the last bit.
        """
        for name, value in scalars.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)
        parameters = dict(self.model.named_parameters())
        if parameters.keys() != tensors["model"].keys():
            different = sorted(parameters.keys() ^ tensors["model"].keys())
            raise ValueError(f"checkpoint and model differ in the tensors {different[:5]}")
        for name, parameter in parameters.items():
            parameter.copy_(tensors["model"][name])
        self.optimizer.state.clear()
        for full_name, value in tensors["optimizer"].items():
            key, _, name = full_name.partition(".")
            parameter = parameters[name]
            device = value.device if key == "step" and not parameter.is_cuda else parameter.device
            held = torch.empty_like(value, device=device)
            held.copy_(value)
            self.optimizer.state[parameter][key] = held
