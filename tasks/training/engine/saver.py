"""Saving while training goes on: a copy at once, the writing in a thread, the commit in step.

A process copies its pieces to host memory and goes on; a thread writes, fsyncs and hashes them. In
the reduction that every step does anyway the processes tell each other who still writes
(:attr:`Saver.votes`), so all learn in the same step that all are done, and the first one commits.
A store that fails costs this checkpoint and nothing else: it is discarded, told, and the next one
is tried when it is due.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from tasks.training.engine import checkpoint
from tasks.training.engine.pieces import Piece, share
from tasks.training.engine.state import Tensors


@dataclass
class Saving:
    """One checkpoint under way."""

    step: int
    scalars: dict[str, Any]
    temporary: bool
    begun: float
    stalled: float = 0.0  # seconds that training waited for it
    error: BaseException | None = None
    thread: threading.Thread | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Saved:
    """How a checkpoint ended. reason: why it is not there; None when it is."""

    step: int
    seconds: float
    stalled_seconds: float
    reason: str | None = None


class Saver:
    """Writes the checkpoints of one process of a run; ``hook`` gives the faults of a step."""

    def __init__(
        self,
        root: Path,
        rank: int,
        world: int,
        *,
        keep_last: int,
        keep_every: int,
        hook: Callable[[int], checkpoint.Hook] = lambda step: lambda point: None,
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        attempt: str = "",
    ) -> None:
        self._root, self._rank, self._world = root, rank, world
        self._attempt = attempt
        self._keep_last, self._keep_every = keep_last, keep_every
        self._hook, self._beat, self._clock = hook, beat, clock
        self._now: Saving | None = None

    @property
    def step(self) -> int | None:
        """Step of the checkpoint under way; the same on all processes."""
        return self._now.step if self._now else None

    @property
    def votes(self) -> tuple[float, float]:
        """(1 while this process writes, 1 if its part could not be written); see ``settle``.

        Raises:
            What ended the thread, unless it was the store's fault.
        """
        saving = self._now
        if saving is None or saving.thread is None:
            return 0.0, 0.0
        if saving.thread.is_alive():
            return 1.0, 0.0
        if saving.error is not None and not isinstance(saving.error, OSError | SafetensorError):
            raise saving.error
        return 0.0, float(saving.error is not None)

    def begin(
        self, step: int, scalars: dict[str, Any], tensors: dict[str, Tensors], *, temporary: bool
    ) -> None:
        """Copy this process's pieces and start to write them; none may be under way."""
        assert self._now is None, "one checkpoint at a time"
        begun = self._clock()
        held = {stem: self._copied(named) for stem, named in tensors.items()}
        saving = Saving(step, scalars, temporary, begun)
        saving.thread = threading.Thread(
            target=self._write, args=(saving, held), name=f"checkpoint-{step}", daemon=True
        )
        self._now = saving
        saving.thread.start()
        saving.stalled = self._clock() - begun

    def wait(self, seconds: float | None = None) -> None:
        """Return when this process's part is written or could not be, or after ``seconds``."""
        saving = self._now
        if saving is None or saving.thread is None:
            return
        begun = self._clock()
        saving.thread.join(timeout=seconds)
        saving.stalled += self._clock() - begun

    def settle(self, writing: float, failed: float) -> Saved | None:
        """Commit or discard, when nobody writes any more; ``votes`` added over all processes.

        Returns how it ended, on every process; None while it goes on.
        """
        saving = self._now
        if saving is None or writing:
            return None
        self._now = None
        begun, reason = self._clock(), None
        if self._rank == 0:
            reason = self._commit(saving) if not failed else str(saving.error or "another process")
            if reason is not None:
                shutil.rmtree(self._temporary(saving.step), ignore_errors=True)
        elif failed:
            reason = str(saving.error or "another process")
        now = self._clock()
        return Saved(saving.step, now - saving.begun, saving.stalled + now - begun, reason)

    def _temporary(self, step: int) -> Path:
        return self._root / checkpoint.temporary_name(step, self._attempt)

    def _commit(self, saving: Saving) -> str | None:
        hook = self._hook(saving.step)
        try:
            checkpoint.commit(
                self._root,
                saving.step,
                saving.scalars,
                self._world,
                attempt=self._attempt,
                temporary_one=saving.temporary,
                hook=hook,
            )
        except OSError as error:
            return str(error)
        try:
            checkpoint.prune(
                self._root, keep_last=self._keep_last, keep_every=self._keep_every, hook=hook
            )
        except OSError as error:  # the next save tries again; what is left is no checkpoint
            print(f"an old checkpoint could not be deleted: {error}", flush=True)
        return None

    def _copied(self, named: Tensors) -> dict[str, tuple[torch.Tensor, Piece]]:
        mine = ((name, share(tensor, self._rank, self._world)) for name, tensor in named.items())
        return {
            name: (part[0].detach().to("cpu", copy=True), part[1])
            for name, part in mine
            if part is not None
        }

    def _write(self, saving: Saving, held: checkpoint.Held) -> None:
        try:
            checkpoint.write_part(
                self._temporary(saving.step),
                self._rank,
                held,
                hook=self._hook(saving.step),
                beat=self._beat,
            )
        except BaseException as error:  # raised again, or told, by the training thread
            saving.error = error
