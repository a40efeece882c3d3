"""Parameters of the tokenizer and of the token shards."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Execution(BaseModel):
    """Where the parts of a corpus are worked on: decides nothing about the result."""

    workers: int | None = Field(
        default=None,
        title="Worker processes",
        description="Processes of each machine that work on parts of the corpus; empty: one for "
        "each core. The result does not depend on it.",
        ge=1,
        le=256,
        json_schema_extra={"recipe": False},
    )
    executor: Literal["processes", "prefect", "ray"] = Field(
        default="processes",
        title="Executor",
        description="processes: on this machine. prefect: runs of the deployment `shards`, one for "
        "each shard group, on whatever work pool it has. ray: a Ray cluster (needs arriero[ray]). "
        "The result does not depend on it.",
        json_schema_extra={"recipe": False},
    )
    shard_groups: int = Field(
        default=2,
        title="Shard groups",
        description="With the executor `prefect`: how many runs share the parts of the corpus.",
        ge=1,
        le=10_000,
        json_schema_extra={"recipe": False},
    )
    silent_minutes: int = Field(
        default=10,
        title="Silence of a shard group",
        description="With the executor `prefect`: minutes without a sign of life after which a run "
        "that works is given up, for its machine is gone.",
        ge=1,
        le=10_080,
        json_schema_extra={"recipe": False},
    )
    pending_hours: int = Field(
        default=24,
        title="Waiting of a shard group",
        description="With the executor `prefect`: hours that a run which a worker took may wait "
        "for its machine, as in the queue of a cluster.",
        ge=1,
        le=10_000,
        json_schema_extra={"recipe": False},
    )
    ray_address: str | None = Field(
        default=None,
        title="Ray address",
        description="With the executor `ray`: the cluster's address; empty: a local one.",
        json_schema_extra={"recipe": False},
    )


class TokenizerParameters(Execution):
    """SentencePiece BPE with the settings of the paper (section 2.1) and of its model file."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Tokenizer")

    vocab_size: int = Field(
        default=32_000,
        title="Vocabulary size",
        description="Pieces: 3 control ids, 256 bytes, the rest learned. Source: LLaMA's model "
        "file (the paper does not say); the nano preset takes 4,096.",
        ge=300,
        le=1_000_000,
    )
    character_coverage: float = Field(
        default=0.99995,
        title="Character coverage",
        description="Share of the sample's characters that get a piece of their own; the others "
        "fall back to bytes. Source: LLaMA's model file.",
        ge=0.98,
        le=1.0,
    )
    max_sentence_length: int = Field(
        default=4192,
        title="Longest line (bytes)",
        description="Longer lines are split, at a space where there is one; SentencePiece alone "
        "would leave them out. Source of the number: LLaMA's model file.",
        ge=64,
        le=1_000_000,
    )
    sample_bytes: int = Field(
        default=1_000_000_000,
        title="Training sample (bytes)",
        description="UTF-8 bytes of training text to learn from, shared out by the mixture's "
        "weights; documents are chosen by the hash of their id. A source with less gives all it "
        "has. SentencePiece needs about 10 times as much memory.",
        ge=1_000,
    )
    seed: int = Field(
        default=0,
        title="Seed of the sample",
        description="Decides which documents are in the sample, nothing else.",
        ge=0,
    )
    threads: int = Field(
        default=2,
        title="Threads",
        description="Threads of SentencePiece's training; the vocabulary does not depend on it.",
        ge=1,
        le=256,
        json_schema_extra={"recipe": False},
    )


class TokensParameters(Execution):
    """Token shards: each document as BOS, its pieces, EOS, in the order of the corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Tokens")
