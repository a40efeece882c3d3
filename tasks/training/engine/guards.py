"""What happens when a step's numbers are not finite or leap: skip, count, roll back, give up.

The decision is made on reduced numbers, so every rank makes the same one. It depends on the state
alone, so a run that is killed in between decides the same again after it resumed.
"""

from __future__ import annotations

import statistics
from enum import Enum

from tasks.training.engine.config import EngineConfig
from tasks.training.engine.state import TrainState

WINDOW = 128  # applied steps that a loss or gradient norm is compared with (as in OLMo-core)


class Diverged(RuntimeError):
    """The numbers stay bad although bad data was skipped several times."""


def leaps(history: list[float], value: float, sigmas: float) -> bool:
    """Whether ``value`` is more than ``sigmas`` deviations above the mean of the last steps.

    False while fewer than half a window is known, and with ``sigmas`` 0. Only upwards: what falls
    is training.
    """
    if not sigmas or len(history) < WINDOW // 2:
        return False
    mean = statistics.fmean(history)
    return value > mean + sigmas * statistics.pstdev(history, mean)


def remember(history: list[float], value: float) -> list[float]:
    """The window with an applied step's value."""
    return [*history, value][-WINDOW:]


class Verdict(Enum):
    """What the loop does after a step."""

    GOOD = "good"
    SKIPPED = "skipped"  # no rank stepped; go on with the next batch
    ROLL_BACK = "roll_back"  # restore the last good checkpoint, pass over the streak's batches


def judge(state: TrainState, applied: bool, batch: int, config: EngineConfig) -> Verdict:
    """Account for one step on data batch ``batch``; updates the streak in ``state``."""
    if applied:
        state.streak = []
        return Verdict.GOOD
    state.streak = [*state.streak, batch]
    state.bad_batches = sorted({*state.bad_batches, batch})
    if len(state.streak) < config.max_bad_steps:
        return Verdict.SKIPPED
    return Verdict.ROLL_BACK


def skip_window(before: TrainState, restored: TrainState, config: EngineConfig) -> None:
    """Carry the decision of ``before`` into the state that was restored for it.

    Raises:
        Diverged: this was tried ``max_rollbacks`` times already.
    """
    rollbacks = before.rollbacks + 1
    if rollbacks > config.max_rollbacks:
        raise Diverged(
            f"{len(before.streak)} steps in a row whose loss or gradient was not finite or leapt, "
            f"at step {before.step}, after {before.rollbacks} roll-backs: lower the learning rate, "
            f"or look at data batches {before.streak}"
        )
    restored.skipped = sorted({*restored.skipped, *before.skipped, *before.streak})
    restored.streak = []
    restored.rollbacks = rollbacks
    restored.bad_batches = sorted({*restored.bad_batches, *before.bad_batches})
