"""What a benchmark is: where its data lie, its prompt, its scoring, its protocol version.

A benchmark file says these things and nothing else; engines and bookkeeping live outside. Bump
``protocol_version`` whenever a prompt, a scoring rule or an answer rule changes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.items import BenchmarkDataError, Item
from tasks.evaluation.requests import ChoiceRequest, GenerationRequest

# Examples shown before an item: most benchmarks show the same to all, MMLU those of the subject.
ShotsFor = Callable[[Item], tuple[str, ...]]

ANSWER_CONTEXT = "Answer:"  # the paper, section 3: P(c | context) / P(c | "Answer:")


def no_shots(item: Item) -> tuple[str, ...]:
    """The zero-shot protocol."""
    return ()


def first_shots(examples: Sequence[str], count: int, where: str) -> tuple[str, ...]:
    """The first ``count`` examples; BenchmarkDataError if there are fewer: rows state their shots.

    where: the file that they come from, for the message.
    """
    if len(examples) < count:
        raise BenchmarkDataError(f"{where}: {len(examples)} examples, {count} are needed")
    return tuple(examples[:count])


class Benchmark(ABC):
    """Common part. ``metrics[0]`` is the one that the paper reports."""

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]  # where the data come from, and what is special about this copy
    protocol: ClassVar[str]  # prompt and scoring in one sentence
    protocol_version: ClassVar[int] = 1
    split: ClassVar[str]
    files: ClassVar[Mapping[str, tuple[str, ...]]]  # split -> files under the bench folder
    shots: ClassVar[int] = 0
    max_shots: ClassVar[int] = 0
    metrics: ClassVar[tuple[str, ...]]

    def items(self, root: Path, split: str) -> Iterator[Item]:
        """Items of one split in file order; ValueError names the splits if it is unknown."""
        if split not in self.files:
            raise ValueError(f"{self.name} has no split {split!r}: one of {', '.join(self.files)}")
        return self.read(root, split)

    @abstractmethod
    def read(self, root: Path, split: str) -> Iterator[Item]:
        """Parse ``files[split]``."""

    def plain_question(self, item: Item) -> str:
        """The question as a text of its own would have it: what decontamination looks for."""
        return item.question

    def read_files(self) -> tuple[str, ...]:
        """Files that decide the result: those of the evaluated split and of the examples."""
        return self.files[self.split]

    def shots_for(self, root: Path, count: int) -> ShotsFor:
        """The examples of ``count`` shots; benchmarks with ``max_shots`` 0 have none."""
        assert count == 0, f"{self.name} takes no examples"
        return no_shots


class ChoiceBenchmark(Benchmark):
    """Multiple choice, decided by likelihoods."""

    # 1 cut the contexts of all choices by what the longest choice takes
    protocol_version: ClassVar[int] = 2
    metrics: ClassVar[tuple[str, ...]] = ("acc_norm", "acc")

    @abstractmethod
    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        """The prompt and the choices of one item."""


class GenerationBenchmark(Benchmark):
    """Greedy text, compared with the accepted answers."""

    metrics: ClassVar[tuple[str, ...]] = ("exact_match",)

    @abstractmethod
    def request(self, item: Item, shots: tuple[str, ...]) -> GenerationRequest:
        """The prompt and the stop rule of one item."""

    @abstractmethod
    def answer(self, generation: str) -> str:
        """The answer found in a generation ("" when there is none)."""

    @abstractmethod
    def correct(self, answer: str, item: Item) -> bool:
        """Whether ``answer`` is accepted."""


class CodeBenchmark(Benchmark):
    """Programs, sampled and run against tests in the sandbox."""

    metrics: ClassVar[tuple[str, ...]] = ("pass@1",)

    @abstractmethod
    def request(self, item: Item, shots: tuple[str, ...]) -> GenerationRequest:
        """The prompt and the stop rule of one item."""

    @abstractmethod
    def program(self, item: Item, generation: str) -> str:
        """The whole program to run: it ends without an exception exactly if the tests hold."""


def choice_predictions(
    logprobs: Sequence[float], characters: Sequence[int], unconditional: Sequence[float] | None
) -> dict[str, int]:
    """Index of the preferred choice under each normalisation; ties go to the first choice.

    acc: log P(c | ctx). acc_norm: that divided by the characters of c. acc_answer: the *difference*
    log P(c | ctx) - log P(c | "Answer:"), i.e. the ratio of probabilities (paper, section 3).
    """
    assert len(logprobs) == len(characters)
    predictions = {
        "acc": _argmax(logprobs),
        "acc_norm": _argmax(
            [value / max(1, count) for value, count in zip(logprobs, characters, strict=True)]
        ),
    }
    if unconditional is not None:
        predictions["acc_answer"] = _argmax(
            [value - base for value, base in zip(logprobs, unconditional, strict=True)]
        )
    return predictions


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda index: (values[index], -index))


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased pass@k of one problem: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, section 2.1).

    Raises ValueError unless 0 <= correct <= samples and 1 <= k <= samples.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} is not defined for {correct} of {samples} samples")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)
