"""The one file the trainer reads: ``run.json``, resolved, complete and frozen.

Every value that decides the result is in here; nothing is read from the environment except what
the launcher sets (rank, world size, number of threads).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.config import ModelConfig

EXIT_DONE = 0
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: starting again cannot help
EXIT_PREEMPTED = 75  # EX_TEMPFAIL: a checkpoint was written, start again to continue
EXIT_DIVERGED = 70  # EX_SOFTWARE: the guards gave up

ATTEMPT = "ARRIERO_ATTEMPT"  # set by the launcher, the same for all processes of an attempt
FAULTS_ALLOWED = "ARRIERO_TEST_FAULTS"


class ConfigError(ValueError):
    """The run cannot be done as it was asked for; a retry would fail in the same way."""


class OptimizerConfig(BaseModel):
    """AdamW as in the LLaMA paper, section 2.3."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    clip: float = Field(1.0, gt=0)


class ScheduleConfig(BaseModel):
    """Linear warm-up, then a cosine down to ``final_ratio`` of the peak."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    warmup_steps: int = Field(ge=0)
    final_ratio: float = Field(0.1, ge=0, le=1)


class Fault(BaseModel):
    """A fault that tests inject; refused unless the environment has ARRIERO_TEST_FAULTS=1.

    kill_at_step: SIGKILL to every rank's own process right before this optimizer step commits.
    kill_in_save: SIGKILL of ``kill_rank`` (None: 0) inside the save of this step, at
        ``save_point``; with ``fail_save`` the disk is full there instead.
    kill_in_final: SIGKILL of rank 0 while it writes ``final/``, at this point.
    nan_at: data batches whose gradient is made NaN on ``nan_rank`` only.
    spike_at: data batches whose gradient ``nan_rank`` makes 1000 times as large.
    sleep_per_step: seconds, so that a test has time to send a signal.
    sleep_per_pass: seconds that each micro-batch takes longer.
    sleep_in_final: seconds that rank 0 takes longer to write ``final/``.
    hang_at_step: rank 0 stops making progress here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kill_at_step: int | None = None
    kill_rank: int | None = None
    kill_in_save: int | None = None
    fail_save: bool = False
    save_point: Literal["begun", "file", "files", "manifest", "rename", "prune", "pruned"] = "files"
    kill_in_final: Literal["weights", "summary", "aside", "rename"] | None = None
    nan_at: tuple[int, ...] = ()
    nan_rank: int = 0
    spike_at: tuple[int, ...] = ()
    sleep_per_step: float = 0.0
    sleep_per_pass: float = 0.0
    sleep_in_final: float = 0.0
    hang_at_step: int | None = None


class EngineConfig(BaseModel):
    """A resolved training run. Sizes are counts of sequences unless another unit is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["pretrain", "finetune"]
    model: ModelConfig
    data: Path  # tokens artifact (pretrain) or instructions artifact (finetune)
    work: Path  # checkpoints, metrics.jsonl, events.jsonl, final/: survives attempts
    init_from: Path | None = None  # checkpoint directory that finetuning starts from

    steps: int = Field(gt=0)
    global_batch: int = Field(gt=0)  # sequences of one optimizer step, over all processes
    micro_batch: int = Field(gt=0)  # sequences of one forward pass of one process
    context: int = Field(gt=1)  # tokens of one sequence
    world: int = Field(1, gt=0)  # processes, of all nodes
    nodes: int = Field(1, gt=0)  # machines
    threads: int = Field(1, gt=0)  # per process
    seed: int = Field(0, ge=0)
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"  # fp64 is for tests: no form offers it
    device: Literal["cpu", "cuda"] = "cpu"
    strategy: Literal["ddp", "fsdp", "hsdp"] = "ddp"  # model whole in each process, or in parts
    shard: int = Field(1, gt=0)  # hsdp: processes that hold one copy of the model together
    recompute: Literal["none", "selective", "full"] = "none"  # activations, in the backward pass
    compile: bool = False  # torch.compile of each block
    mask_documents: bool = False
    optimizer: OptimizerConfig
    schedule: ScheduleConfig

    until: int | None = Field(None, gt=0)  # stop after this step, without a result; None = the end
    skip_batches: tuple[int, ...] = ()  # data batches never trained on
    spike_sigmas: float = Field(6.0, ge=0)  # loss or gradient norm above the mean of the last 128
    max_bad_steps: int = Field(3, gt=0)  # consecutive bad steps before the roll-back
    max_rollbacks: int = Field(3, ge=0)

    checkpoint_every: int = Field(100, gt=0)  # steps
    checkpoint_seconds: float | None = Field(None, gt=0)  # between temporary ones; None = none
    keep_last: int = Field(2, ge=2)
    keep_every: int = Field(0, ge=0)  # steps; 0 keeps none for good
    log_every: int = Field(1, gt=0)  # steps
    validation_tokens: int = Field(65_536, ge=0)  # at most this many per source; 0 = all
    validate_every: int = Field(0, ge=0)  # steps; 0 = at the end only
    grace_seconds: float = Field(300.0, gt=0)  # from SIGTERM to the hard end of a rank
    lock_directory: Path | None = None  # of the per-GPU locks; None = the machine's
    peak_flops: float | None = None  # of one device, dense, for MFU; None = no MFU
    fault: Fault | None = None

    @property
    def accumulation(self) -> int:
        """Forward passes of one process in one optimizer step."""
        return self.global_batch // (self.micro_batch * self.world)

    @property
    def local_world(self) -> int:
        """Processes of each machine."""
        return self.world // self.nodes

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on with the run that continues it.

        World size, micro-batch, threads, and how the model is sharded, recomputed and compiled may
        change between attempts (the losses then agree to 2e-6 in fp32, not to the bit).
        """
        chosen = {"mode", "model", "global_batch", "context", "seed", "steps", "precision"}
        chosen |= {"mask_documents", "optimizer", "schedule", "skip_batches", "spike_sigmas"}
        return self.model_dump(mode="json", include=chosen)

    @property
    def layout(self) -> dict[str, Any]:
        """How the work is spread: what may change between attempts, and only moves last bits."""
        chosen = {"world", "nodes", "threads", "micro_batch", "device", "strategy", "shard"}
        return self.model_dump(mode="json", include=chosen | {"recompute", "compile"})

    @model_validator(mode="after")
    def _check_across_fields(self) -> Self:
        problems = []
        if self.global_batch % (self.micro_batch * self.world):
            problems.append(
                f"global_batch {self.global_batch} is no multiple of micro_batch "
                f"{self.micro_batch} x world {self.world}: choose one that is"
            )
        if self.world % self.nodes:
            problems.append(f"world {self.world} is no multiple of nodes {self.nodes}")
        if self.strategy == "hsdp" and (self.shard < 2 or self.world % self.shard):
            problems.append(
                f"strategy hsdp: shard {self.shard} must be 2 or more and divide world {self.world}"
            )
        if self.strategy != "hsdp" and self.shard != 1:
            problems.append(f"shard {self.shard} is for strategy hsdp: leave it at 1")
        if self.strategy != "ddp" and self.world == 1:
            problems.append(f"strategy {self.strategy} shards over processes, world is 1")
        if self.context > self.model.context:
            problems.append(
                f"context {self.context} is longer than the model's {self.model.context}"
            )
        if self.schedule.warmup_steps >= self.steps:
            problems.append(
                f"warmup_steps {self.schedule.warmup_steps} must be below steps {self.steps}"
            )
        if self.mode == "finetune" and self.init_from is None:
            problems.append("mode finetune needs init_from, the checkpoint to start from")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def read_config(path: Path) -> EngineConfig:
    """Read and check ``run.json``.

    Raises:
        ConfigError: the file is missing, is no JSON, or does not describe a run.
    """
    try:
        return EngineConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
