"""Faults that tests inject into a real run: kills, NaN, a hang. Inert without a configured one."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable

from tasks.training.engine.config import FAULTS_ALLOWED, ConfigError, EngineConfig, Fault
from tasks.training.engine.pieces import local
from tasks.training.engine.state import TrainState


def _kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Faults:
    """The configured fault; ``kill`` is injected so that unit tests can watch it.

    Raises:
        ConfigError: a fault is configured but the environment does not allow any.
    """

    def __init__(self, config: EngineConfig, kill: Callable[[], None] = _kill_myself) -> None:
        if config.fault is not None and os.environ.get(FAULTS_ALLOWED) != "1":
            raise ConfigError(f"`fault` is for tests: it needs {FAULTS_ALLOWED}=1")
        self._fault = config.fault or Fault()
        self._kill = kill

    def poison_gradients(self, state: TrainState, rank: int) -> None:
        """Make this rank's gradient NaN, or far too large, at the configured data batches."""
        fault, batch = self._fault, state.data_batch()
        if rank != fault.nan_rank or batch not in (*fault.nan_at, *fault.spike_at):
            return
        held = [local(p.grad)[0] for p in state.model.parameters() if p.grad is not None]
        if batch in fault.nan_at:
            next(part for part in held if part.numel()).view(-1)[0] = float("nan")
        else:
            for part in held:
                part *= 1000

    def before_commit(self, state: TrainState, rank: int) -> None:
        """Kill, hang or slow down right before the optimizer changes the weights."""
        fault = self._fault
        if fault.kill_at_step == state.step and fault.kill_rank in (None, rank):
            self._kill()
        if fault.hang_at_step == state.step and rank == 0:
            time.sleep(3600)
        if fault.sleep_per_step:
            time.sleep(fault.sleep_per_step)

    def after_pass(self) -> None:
        """Make each micro-batch take longer."""
        if self._fault.sleep_per_pass:
            time.sleep(self._fault.sleep_per_pass)

    def in_final(self, point: str) -> None:
        """Hook of final.write: take longer, or be killed."""
        if self._fault.sleep_in_final and point == "weights":
            time.sleep(self._fault.sleep_in_final)
        if self._fault.kill_in_final == point:
            self._kill()

    def in_save(self, step: int, rank: int) -> Callable[[str], None]:
        """Hook of writing, committing and pruning for the save after ``step`` steps."""
        fault = self._fault

        def hook(point: str) -> None:
            if fault.kill_in_save != step or rank != (fault.kill_rank or 0):
                return
            if fault.save_point == point:
                if fault.fail_save:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "injected")
                self._kill()

        return hook
