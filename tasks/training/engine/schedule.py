"""Learning rate: a pure function of the step, so that resuming has nothing to restore."""

from __future__ import annotations

import math


def learning_rate(
    step: int, *, peak: float, warmup_steps: int, steps: int, final_ratio: float = 0.1
) -> float:
    """Learning rate of optimizer step ``step`` (0-based).

    Linear from ``peak / warmup_steps`` to ``peak`` over the warm-up, then half a cosine from
    ``peak`` to ``final_ratio * peak``, reached at the last step. Cosine to 10 % and 2,000 warm-up
    steps: LLaMA paper, section 2.3; that the warm-up is linear is not stated there.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    last = max(steps - 1 - warmup_steps, 1)
    done = min((step - warmup_steps) / last, 1.0)
    cosine = 0.5 * (1.0 + math.cos(math.pi * done))
    return peak * (final_ratio + (1.0 - final_ratio) * cosine)
