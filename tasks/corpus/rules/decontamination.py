"""What is done with documents that hold items of the benchmarks."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, Field

from tasks.evaluation.parameters import BenchmarkName


class DecontaminationRules(BaseModel):
    """What is done with documents that hold items of the benchmarks."""

    decontamination: Literal["off", "flag", "remove"] = Field(
        "flag",
        title="Decontamination",
        description="Documents that share word n-grams with evaluated items of the benchmarks."
        " flag: they stay, and each benchmark's share of contaminated items is told beside its"
        " score. remove: they go, as a whole. off: nobody looks. LLaMA's paper does neither.",
    )
    decontamination_ngram: int = Field(
        13,
        title="Words of an n-gram",
        description="Consecutive words, lower-cased, without punctuation, that a document and an"
        " item must share. Source: GPT-3 (Brown et al. 2020, appendix C): 13. Items of fewer words"
        " are compared as a whole, from 8 words on.",
        ge=8,
        le=64,
    )
    decontamination_common: int | None = Field(
        10,
        title="Documents of a common n-gram",
        description="An n-gram that more documents than this hold is a phrase, a licence, a verse,"
        " and does not count; how many items only such n-grams touch is told. Source: GPT-3,"
        " appendix C: 10. Empty: all count.",
        ge=1,
    )
    decontamination_benchmarks: tuple[BenchmarkName, ...] = Field(
        get_args(BenchmarkName),
        title="Benchmarks to look for",
        description="Their evaluated items are looked for. Passages of boolq are of Wikipedia and"
        " will be found in it: leave boolq out where such documents must not be removed.",
    )
