"""Parameters of an evaluation: the form in the Prefect UI."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.evaluation.sandbox import Limits

BenchmarkName = Literal[
    "boolq",
    "piqa",
    "siqa",
    "hellaswag",
    "winogrande",
    "arc_easy",
    "arc_challenge",
    "openbookqa",
    "nq_open",
    "triviaqa",
    "race_middle",
    "race_high",
    "gsm8k",
    "humaneval",
    "mmlu",
]

DEFAULT_BENCHMARKS: list[BenchmarkName] = [
    "hellaswag",
    "arc_easy",
    "arc_challenge",
    "boolq",
    "mmlu",
    "triviaqa",
    "gsm8k",
    "humaneval",
]


class SandboxLimits(BaseModel):
    """Limits on one generated program."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Sandbox limits")

    seconds: float = Field(
        default=10.0,
        title="Time per program",
        description="Wall-clock limit of one program with its tests, seconds; CPU time is limited "
        "to the same figure rounded up.",
        gt=0,
        le=300,
    )
    memory_mib: int = Field(
        default=1024,
        title="Memory per process",
        description="Address space of each process, MiB. With the limit on processes it bounds the "
        "program as a whole.",
        ge=64,
        le=65536,
    )
    processes: int = Field(
        default=8,
        title="Processes",
        description="Processes and threads that one program may have at a time.",
        ge=1,
        le=256,
    )
    file_mib: int = Field(
        default=16,
        title="Scratch space",
        description="Size of the program's private /tmp, and of any file in it, MiB.",
        ge=1,
        le=4096,
    )

    def limits(self) -> Limits:
        """The same in the sandbox's units."""
        return Limits(
            seconds=self.seconds,
            memory_bytes=self.memory_mib * 2**20,
            processes=self.processes,
            file_bytes=self.file_mib * 2**20,
        )


class EvaluationParameters(BaseModel):
    """What to evaluate and how; defaults are the paper's protocol (section 3)."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Evaluation")

    benchmarks: list[BenchmarkName] = Field(
        default=list(DEFAULT_BENCHMARKS),  # a factory's value would not show in the form
        title="Benchmarks",
        description="Which benchmarks to run, in this order. A benchmark whose files are absent "
        "gives a row 'not run' with the reason.",
        min_length=1,
    )
    item_limit: int | None = Field(
        default=None,
        title="Items per benchmark",
        description="At most this many items of each benchmark, chosen by the hash of seed and "
        "item id; empty = all items.",
        ge=1,
    )
    shots: int | None = Field(
        default=None,
        title="Shots",
        description="Examples before each question, instead of each benchmark's own number (MMLU "
        "5, TriviaQA and NQ 5, GSM8k 8). Others stay at 0 and say so; a file with too few examples "
        "is an error.",
        ge=0,
        le=64,
    )
    max_new_tokens: int | None = Field(
        default=None,
        title="Generated tokens",
        description="Upper bound on tokens generated per answer, below each benchmark's own (24 "
        "for closed book, 512 for GSM8k and HumanEval) and half of the model's context.",
        ge=1,
        le=4096,
    )
    code_samples: int = Field(
        default=1,
        title="Programs per problem",
        description="Samples drawn for code benchmarks; pass@k is reported for k = 1, 10, 80, 100 "
        "as far as k <= samples. The paper takes pass@1 at temperature 0.1 and pass@100 at 0.8.",
        ge=1,
        le=1000,
    )
    code_temperature: float = Field(
        default=0.1,
        title="Temperature of programs",
        description="Sampling temperature of code benchmarks; 0 = greedy (paper section 3.5: 0.1 "
        "for pass@1, 0.8 for pass@100).",
        ge=0.0,
        le=2.0,
    )
    code_top_p: float = Field(
        default=1.0,
        title="Nucleus of programs",
        description="Top-p of code benchmarks; the paper does not state one.",
        gt=0.0,
        le=1.0,
    )
    sandbox: SandboxLimits = Field(
        default_factory=lambda: SandboxLimits(),
        title="Sandbox limits",
        description="What one generated program may use.",
    )
    seed: int = Field(
        default=0,
        title="Seed",
        description="Chooses the items under a limit and the samples of code benchmarks.",
        ge=0,
        le=2**31 - 1,
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        title="Precision",
        description="Type of the weights while evaluating. Log-probabilities are float32 in both; "
        "near-ties may flip in bfloat16.",
    )
    token_budget: int = Field(
        default=8192,
        title="Tokens per batch",
        description="Upper bound on tokens of one forward pass, padding included; raise it on a "
        "GPU. Scores change by rounding only (below 1e-4), but that makes another result.",
        ge=64,
        le=2**22,
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        doubled = sorted({name for name in self.benchmarks if self.benchmarks.count(name) > 1})
        if doubled:
            problems.append(f"benchmarks listed twice: {', '.join(doubled)}")
        if self.code_temperature == 0 and self.code_samples > 1:
            problems.append("greedy programs (temperature 0) are all alike: set one sample")
        if problems:
            raise ValueError("; ".join(problems))
        return self
