"""Every benchmark by name. A new one: a file here, a line below, its name in `BenchmarkName`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tasks.evaluation.benchmarks.arc import ArcChallenge, ArcEasy
from tasks.evaluation.benchmarks.base import Benchmark
from tasks.evaluation.benchmarks.boolq import BoolQ
from tasks.evaluation.benchmarks.gsm8k import Gsm8k
from tasks.evaluation.benchmarks.hellaswag import HellaSwag
from tasks.evaluation.benchmarks.humaneval import HumanEval
from tasks.evaluation.benchmarks.mmlu import Mmlu
from tasks.evaluation.benchmarks.nq_open import NqOpen
from tasks.evaluation.benchmarks.openbookqa import OpenBookQA
from tasks.evaluation.benchmarks.piqa import Piqa
from tasks.evaluation.benchmarks.race import RaceHigh, RaceMiddle
from tasks.evaluation.benchmarks.siqa import Siqa
from tasks.evaluation.benchmarks.triviaqa import TriviaQa
from tasks.evaluation.benchmarks.winogrande import WinoGrande

_ALL: tuple[Benchmark, ...] = (
    BoolQ(),
    Piqa(),
    Siqa(),
    HellaSwag(),
    WinoGrande(),
    ArcEasy(),
    ArcChallenge(),
    OpenBookQA(),
    NqOpen(),
    TriviaQa(),
    RaceMiddle(),
    RaceHigh(),
    Gsm8k(),
    HumanEval(),
    Mmlu(),
)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({found.name: found for found in _ALL})


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name; ValueError lists the names."""
    try:
        return BENCHMARKS[name]
    except KeyError:
        raise ValueError(
            f"unknown benchmark {name!r}: one of {', '.join(sorted(BENCHMARKS))}"
        ) from None
