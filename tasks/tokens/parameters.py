"""Parameters of the tokenizer and of the token shards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TokenizerParameters(BaseModel):
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


class TokensParameters(BaseModel):
    """Token shards: each document as BOS, its pieces, EOS, in the order of the corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Tokens")

    workers: int | None = Field(
        default=None,
        title="Worker processes",
        description="Processes that encode parts of the corpus in parallel; empty: one for each "
        "core. The shards do not depend on it.",
        ge=1,
        le=4096,
        json_schema_extra={"recipe": False},
    )
