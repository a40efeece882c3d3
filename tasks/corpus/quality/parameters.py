"""Parameters of the quality models and of the filter that asks them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Bucket = Literal["head", "middle", "tail"]
Wanted = Literal["auto", "on", "off"]


class QualityModelParameters(BaseModel):
    """What the quality of a web page is measured by: language models and a classifier."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Quality models")

    perplexity: Wanted = Field(
        "auto",
        title="Perplexity",
        description="Train an n-gram language model per language. auto: when kenlm and lmplz are"
        " installed, else the models say that it is off. on: fail without them. off: never.",
    )
    minimum_bytes: int = Field(
        1_000_000,
        title="Text of a language model (bytes)",
        description="UTF-8 bytes of Wikipedia text a language needs for a model of its own; pages"
        " in other languages are not judged by perplexity. Ours.",
        ge=1_000,
    )
    vocabulary: int = Field(
        65_536,
        title="Vocabulary of the language models",
        description="SentencePiece unigram pieces, at most; a small text gives fewer, and the"
        " report says how many. Source: cc_net.",
        ge=300,
        le=1_000_000,
    )
    character_coverage: float = Field(
        0.9995,
        title="Character coverage",
        description="Share of the characters that the pieces must cover. Source: cc_net.",
        ge=0.98,
        le=1.0,
    )
    sentencepiece_bytes: int = Field(
        100_000_000,
        title="Sample for the pieces (bytes)",
        description="UTF-8 bytes per language that SentencePiece learns from; articles are chosen"
        " by the hash of their id. It needs about 25 times as much memory. Ours.",
        ge=1_000,
    )
    ngram_bytes: int = Field(
        500_000_000,
        title="Sample for the n-grams (bytes)",
        description="UTF-8 bytes per language that the n-grams are counted on, chosen likewise."
        " The model takes up to ten times as much on disk, and in memory, where the processes of a"
        " machine share it. Ours.",
        ge=1_000,
    )
    ngram_order: int = Field(
        5,
        title="Order of the n-grams",
        description="Source: cc_net (5-grams); KenLM is built for at most 6.",
        ge=2,
        le=6,
    )
    kenlm_memory: str = Field(
        "2G",
        title="Memory of lmplz",
        description="Its -S: it sorts on disk beyond that. K, M or G bytes.",
        pattern="^[1-9][0-9]*[KMG]$",
        json_schema_extra={"recipe": False},
    )
    head_percentile: float = Field(
        30.0,
        title="Head up to percentile",
        description="Pages below this percentile of the crawl pages' perplexity are head."
        " Source: cc_net. Its published perplexities hold for its own models alone.",
        gt=0.0,
        lt=100.0,
    )
    middle_percentile: float = Field(
        60.0,
        title="Middle up to percentile",
        description="Pages from the head up to this percentile are middle, the rest tail."
        " Source: cc_net.",
        gt=0.0,
        lt=100.0,
    )
    cutoff_pages: int = Field(
        100_000,
        title="Pages for the cut-offs",
        description="Crawl pages per language that the percentiles are taken on, at most; chosen"
        " by the hash of their id. Ours.",
        ge=1,
    )
    cutoff_minimum: int = Field(
        50,
        title="Pages for the cut-offs at least",
        description="A language with fewer crawl pages is not judged by perplexity. Ours.",
        ge=1,
    )
    reference: Wanted = Field(
        "auto",
        title="Reference classifier",
        description="Train a classifier of pages that Wikipedia cites against other pages. auto:"
        " when there are enough cited pages, else the models say that it is off. on: fail with"
        " too few. off: never.",
    )
    reference_match: Literal["url", "host"] = Field(
        "url",
        title="Cited is",
        description="url: the page's own address is cited (the paper). host: some page of its host"
        " is, for small crawls that hold next to no cited page. The report counts both.",
    )
    reference_minimum: int = Field(
        100,
        title="Cited pages at least",
        description="With fewer, no classifier is trained. Ours.",
        ge=4,
    )
    reference_pages: int = Field(
        300_000,
        title="Cited pages at most",
        description="Pages per class; chosen by the hash of their id. Source: RedPajama v1.",
        ge=4,
    )
    reference_characters: int = Field(
        20_000,
        title="Characters of a page",
        description="The classifier reads a page's start, in training and in use. Ours.",
        ge=100,
    )
    reference_bits: int = Field(
        20,
        title="Hash bits of the features",
        description="Words and pairs of words are hashed to 2 to the power of this many weights."
        " Ours.",
        ge=8,
        le=26,
    )
    reference_epochs: int = Field(
        5,
        title="Epochs of the classifier",
        description="Passes over its pages. Source: fastText's default, which RedPajama v1 takes.",
        ge=1,
        le=1000,
    )
    reference_penalty: float = Field(
        1e-5,
        title="Penalty of the classifier",
        description="alpha of scikit-learn's SGDClassifier (L2). Ours.",
        gt=0.0,
        le=1.0,
    )
    reference_held_out: float = Field(
        0.2,
        title="Held-out share of the classifier",
        description="Share of the pages that accuracy and ROC-AUC are measured on; whole hosts, so"
        " that no site is on both sides. Ours.",
        gt=0.0,
        lt=1.0,
    )
    seed: int = Field(
        0,
        title="Seed",
        description="Of the hashes that choose articles and pages, and of the order of training.",
        ge=0,
        lt=2**32,
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.head_percentile >= self.middle_percentile:
            raise ValueError(
                f"head_percentile {self.head_percentile} must be below middle_percentile"
                f" {self.middle_percentile}"
            )
        return self


class QualityParameters(BaseModel):
    """Which web pages stay: by perplexity first, then by the classifier."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Quality filter")

    perplexity_keep: tuple[Bucket, ...] = Field(
        ("head", "middle"),
        title="Buckets kept",
        description="Pages of the other buckets are removed. Source: RedPajama v1; the paper does"
        " not say.",
        min_length=1,
    )
    reference_threshold: float = Field(
        0.25,
        title="Reference score at least",
        description="Pages with a lower score in 0..1 are removed. Source: RedPajama v1; the paper"
        " discards what is not classified as a reference.",
        ge=0.0,
        le=1.0,
    )
    keep_rejected: bool = Field(
        False,
        title="Keep rejected pages",
        description="Keep the whole text of every page removed, not of a few samples alone.",
    )
