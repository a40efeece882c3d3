"""The training run: start or resume, step, guard, save, evaluate, finish. A linear story."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from model.flops import flops_per_token
from model.weights import load_model
from tasks.training.engine import checkpoint, distributed, final, locks
from tasks.training.engine.config import ATTEMPT, ConfigError, EngineConfig
from tasks.training.engine.data import Order, make_batch, micro_batches, open_order
from tasks.training.engine.distributed import StopRequested
from tasks.training.engine.evaluate import validation_losses
from tasks.training.engine.faults import Faults
from tasks.training.engine.guards import Diverged, Verdict, judge, skip_window
from tasks.training.engine.metrics import STARTING, RunLog
from tasks.training.engine.optimizer import build_optimizer
from tasks.training.engine.saver import Saver
from tasks.training.engine.sharding import build_module, gathered, laid_out, set_initial_weights
from tasks.training.engine.state import TrainState
from tasks.training.engine.step import StepResult, train_step


class Outcome(Enum):
    """How a session ended."""

    DONE = "done"
    PREEMPTED = "preempted"


class Session:
    """One start of the trainer on one rank; ``run`` does the work."""

    def __init__(
        self,
        config: EngineConfig,
        *,
        stop_requested: Callable[[], bool] = lambda: False,
        order: Order | None = None,
        started: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        heartbeat: Path | None = None,
    ) -> None:
        self.config, self.clock, self._stop_requested = config, clock, stop_requested
        self.faults = Faults(config)
        self.accelerator = distributed.start(config)
        self.rank = self.accelerator.process_index
        self.checkpoints = config.work / "checkpoints"
        config.work.mkdir(parents=True, exist_ok=True)
        self.log = RunLog(
            config.work,
            writes=self.rank == 0,
            started=clock() if started is None else started,
            clock=clock,
            heartbeat=heartbeat,
        )
        self.order = order if order is not None else open_order(config)
        self.bos_id = _bos_id(config) if config.mask_documents else None
        self.loss_module, self.wrapped = build_module(config, self.accelerator)
        llama = self.loss_module.model
        self.state = TrainState(llama, build_optimizer(llama, config.optimizer))
        self.saver = Saver(
            self.checkpoints,
            self.rank,
            config.world,
            keep_last=config.keep_last,
            keep_every=config.keep_every,
            hook=lambda step: self.faults.in_save(step, self.rank),
            beat=self.log.beat,
            clock=clock,
            attempt=os.environ.get(ATTEMPT, "")[:12],
        )
        self.saved_step = -1
        self.saved_at = clock()

    # ---- the story ---------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train to the last step, or to a checkpoint when asked to stop.

        Rank 0 holds the work folder from here to the end: a second launch of the recipe, or the
        next one while orphans of a killed flow still save, waits and then resumes.
        """
        try:
            lock = self._lock_work()
        except StopRequested:
            return Outcome.PREEMPTED
        try:
            return self._run()
        finally:
            if lock is not None:
                os.close(lock)

    def _lock_work(self) -> int | None:
        lock, owned = None, 1
        if self.rank == 0:
            path = self.config.work / "lock"
            stop, beat = self._stop_requested, self.log.beat
            try:
                lock = locks.acquire(path, beat=beat, stop_requested=stop, what="the work folder")
            except StopRequested:
                owned = 0
        if not distributed.from_first_rank(owned):
            raise StopRequested
        return lock

    def _run(self) -> Outcome:
        self.restore()
        begun = "started" if self.saved_step < 0 else "resumed"
        self.log.event(begun, self.state.step, layout=self.config.layout)
        self._settle_buckets()
        try:
            until = min(self.config.until or self.config.steps, self.config.steps)
            while self.state.step < until:
                if self._one_step().stop:
                    raise StopRequested
            if self.config.until:
                self.finish_saving()
                distributed.meet()
                return Outcome.DONE
            validation = self._validate()
        except StopRequested:
            # Within a streak of bad steps nothing is saved: the roll-back that may follow would go
            # back to that checkpoint, and not to where a run without the stop goes back to. These
            # steps are done again.
            self.finish_saving()  # of an earlier step: whether it is there decides what is to save
            if not self.state.streak:
                self.save()
            self.finish_saving()
            self.log.event("preempted", self.state.step)
            distributed.meet()
            return Outcome.PREEMPTED
        self.save()
        self.finish_saving()
        self._write_final(validation)
        self.log.event("finished", self.state.step)
        distributed.meet()
        return Outcome.DONE

    def _one_step(self) -> StepResult:
        config, state, begun = self.config, self.state, self.clock()
        batch_number = state.data_batch()
        raw = self.order.batch(batch_number, config.global_batch)
        batches = micro_batches(make_batch(raw, config, self.bos_id), config, self.rank)
        data_wait = self.clock() - begun
        result = train_step(
            self.accelerator,
            self.wrapped,
            state,
            batches,
            config,
            stop_requested=self._stop_requested(),
            faults=self.faults,
            votes=(*self.saver.votes, float(self._save_is_due_by_time())),
            beat=self.log.beat,
            interrupted=self._stop_requested,
        )
        seconds = self.clock() - begun
        self.log.count(state.step, result.tokens, seconds, useful=result.applied)
        verdict = judge(state, result.applied, batch_number, config)
        self._report(result, seconds, data_wait)
        if verdict is Verdict.GOOD:
            state.loss = result.loss
        else:
            why = result.reason
            self.log.event("step_skipped", state.step, data_batch=batch_number, reason=why)
        writing, failed, due = result.votes
        self._settle_saving(writing, failed)
        if verdict is Verdict.ROLL_BACK:
            self._roll_back()
        if verdict is Verdict.GOOD:
            regular = state.step % config.checkpoint_every == 0
            if regular or due:
                self.save(temporary=not regular)
        if _due(state.step, config.validate_every) and state.step < config.steps:
            self._validate()
        return result

    # ---- state -------------------------------------------------------------------------------

    def restore(self) -> None:
        """Continue from the newest valid checkpoint; without one, from the initial weights."""
        newest = -1
        self.log.enter(STARTING)
        if self.rank == 0:
            checkpoint.clear_leftovers(self.checkpoints)
            directory, refusals = checkpoint.newest_valid(self.checkpoints, self.log.beat)
            for refusal in refusals:
                name = refusal.directory.name
                self.log.event("checkpoint_refused", -1, checkpoint=name, reason=refusal.reason)
                print(f"checkpoint {name} refused: {refusal.reason}", flush=True)
            if directory is not None:
                newest = int(directory.name.removeprefix("step-"))
        newest = distributed.from_first_rank(newest)
        if newest < 0:
            self._initial_state()
        else:
            saved = checkpoint.Reader(self.checkpoints / checkpoint.directory_name(newest))
            self._check_identity(saved.scalars["identity"])
            self.state.restore(saved)
            if self.rank == 0:
                print(f"continued from the checkpoint of step {newest}", flush=True)
        self.saved_step = newest
        self.state.skipped = sorted({*self.state.skipped, *self.config.skip_batches})
        self.log.resume_at(self.state.step)
        self.log.beat()

    def save(self, *, temporary: bool = False) -> None:
        """Begin to save the present step, unless its checkpoint is there."""
        step = self.state.step
        if step == self.saved_step:
            return
        self.finish_saving()  # of an earlier step, should the store be so slow
        scalars = {"state": self.state.scalars(), "identity": self.config.identity}
        self.saver.begin(step, scalars, self.state.tensors(), temporary=temporary)
        self.saved_step, self.saved_at = step, self.clock()

    def finish_saving(self) -> None:
        """Return when no checkpoint is under way on any rank."""
        while self.saver.step is not None:
            self.saver.wait(1.0)
            votes = torch.tensor(self.saver.votes, device=self.accelerator.device)
            writing, failed = distributed.sum_over_ranks(votes).tolist()
            self.log.beat()  # a rank that waits for another one's disk is alive
            self._settle_saving(writing, failed)

    def _settle_saving(self, writing: float, failed: float) -> None:
        saved = self.saver.settle(writing, failed)
        if saved is None:
            return
        times = {"seconds": saved.seconds, "stalled_seconds": saved.stalled_seconds}
        if saved.reason is None:
            self.log.event("checkpoint", saved.step, **times)
        else:
            self.saved_step = -1  # so that a stop tries again
            self.log.event("checkpoint_failed", saved.step, **times, reason=saved.reason)
            print(f"no checkpoint of step {saved.step}: {saved.reason}", flush=True)

    def _save_is_due_by_time(self) -> bool:
        """Asked on every rank, but the first one's clock decides."""
        seconds = self.config.checkpoint_seconds
        return self.rank == 0 and seconds is not None and self.clock() - self.saved_at >= seconds

    def _initial_state(self) -> None:
        config, llama = self.config, self.loss_module.model
        if config.init_from is None:
            set_initial_weights(llama, llama.initial_values(config.seed))
        else:
            base = load_model(config.init_from)
            if base.config != config.model:
                raise ConfigError(f"{config.init_from} holds another model than run.json says")
            set_initial_weights(llama, base.named_parameters())
        self.state.reset()

    def _check_identity(self, saved: dict[str, Any]) -> None:
        now = json.loads(json.dumps(self.config.identity))
        if saved != now:
            names = sorted(k for k in now.keys() | saved.keys() if now.get(k) != saved.get(k))
            raise ConfigError(
                f"the checkpoints in {self.checkpoints} belong to a run with other "
                f"{', '.join(names)}: use an empty work directory"
            )

    def _roll_back(self) -> None:
        before = TrainState(self.state.model, self.state.optimizer, **self.state.scalars())
        self.log.event("rolling_back", before.step, data_batches=before.streak)
        self.finish_saving()
        self.restore()
        try:
            skip_window(before, self.state, self.config)
        except Diverged:
            self.log.event("gave_up", before.step, data_batches=before.streak)
            raise
        self.log.event("rolled_back", self.state.step, skipped=self.state.skipped)

    def _settle_buckets(self) -> None:
        """One throw-away backward pass, so that every real step reduces in the same buckets.

        DDP orders its buckets anew after its first backward pass. A resumed run would otherwise
        do its first step with the first layout, and from three ranks on, another layout adds in
        another order: the last bit would tell that the run was interrupted.
        """
        if self.config.world == 1 or self.config.strategy != "ddp":
            return
        tokens_BT = torch.zeros((1, 8), dtype=torch.long, device=self.accelerator.device)
        self.wrapped(tokens_BT, tokens_BT, torch.ones_like(tokens_BT)).backward()
        self.state.optimizer.zero_grad(set_to_none=True)

    # ---- reports -----------------------------------------------------------------------------

    def _report(self, result: StepResult, seconds: float, data_wait: float) -> None:
        config, step = self.config, self.state.step
        if step % config.log_every and step != config.steps:
            return
        speed = self.log.speed()
        if config.peak_flops:  # never on a CPU: there is no honest peak to divide by
            flops = flops_per_token(config.model, config.context).value
            speed["mfu"] = speed["tokens_per_s"] * flops / (config.peak_flops * config.world)
        self.log.metrics(
            step,
            loss=result.loss,
            learning_rate=result.learning_rate,
            grad_norm=result.grad_norm,
            tokens=self.state.tokens,
            bad_steps=self.state.bad_steps,
            step_seconds=seconds,
            data_wait_seconds=data_wait,
            **speed,
        )

    def _validate(self) -> dict[str, dict[str, float]]:
        try:
            results = validation_losses(
                self.loss_module,
                self.config,
                together=self.config.strategy != "ddp",
                rank=self.rank,
                device=self.accelerator.device,
                stop_requested=self._stop_requested,
                beat=self.log.beat,
            )
        finally:
            laid_out(self.loss_module)
        losses = {f"validation_loss.{source}": row["loss"] for source, row in results.items()}
        if losses:
            self.log.metrics(self.state.step, **losses)
        return results

    def _write_final(self, validation: dict[str, dict[str, float]]) -> None:
        model = gathered(self.loss_module.model, self.rank)
        if self.rank != 0:
            return
        summary = {
            "mode": self.config.mode,
            "steps": self.state.step,
            "tokens": self.state.tokens,
            "loss": self.state.loss,
            "validation": validation,
            "bad_steps": self.state.bad_steps,
            "skipped_batches": self.state.skipped,
            "rollbacks": self.state.rollbacks,
            "parameters": self.config.model.parameters,
            "world": self.config.world,
            "precision": self.config.precision,
        }
        final.write(model, summary, self.config.work, self.faults.in_final)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _bos_id(config: EngineConfig) -> int:
    path: Path = config.data / "tokens.json"
    return int(json.loads(path.read_text(encoding="utf-8"))["bos_id"])
