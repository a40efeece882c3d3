"""AdamW with the paper's constants, and which parameters decay."""

from __future__ import annotations

import torch
from torch import nn

from tasks.training.engine.config import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW (LLaMA paper, section 2.3: betas 0.9 / 0.95, weight decay 0.1).

    Every matrix decays (projections, embedding, output head); vectors (the RMSNorm gains) do not:
    pulling a gain towards zero is no regularisation of the function. The paper states neither
    this choice nor eps. The fused kernel updates all tensors in one pass, on CPU too; the learning
    rate is written into the groups before each step (schedule.py).
    """
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    plain = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
