"""What holds for every source: bad files, rejects, shards, the bounds on one record."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ReadingRules(BaseModel):
    """What holds for every source: bad files, rejects, shards, the bounds on one record."""

    strict: bool = Field(
        False,
        title="Strict",
        description="End the run at the first unreadable file instead of counting it.",
    )
    keep_rejected: bool = Field(
        False,
        title="Keep rejected documents",
        description="Keep the text of everything removed, not only five samples of each reason"
        " and shard.",
    )
    shard_megabytes: int = Field(
        256,
        title="Megabytes per shard",
        description="Raw files are read in shards of about this many MB (as they lie on disk, in"
        " their order); a shard is what a process reads at a time and what a resumed run need not"
        " read again. Small sources get about 16 shards all the same. Ours.",
        ge=1,
        le=100_000,
    )
    record_seconds: int = Field(
        120,
        title="Seconds per record",
        description="A record (page, article, paper, book) that takes longer is given up, counted"
        " and named; its shard is read again without it. Ours.",
        ge=1,
        le=86_400,
    )
    record_megabytes: int = Field(
        8192,
        title="Megabytes per worker",
        description="Memory of one process that reads a shard; a record that needs more is given"
        " up, counted and named. Ours.",
        ge=512,
    )
    seed: int = Field(
        0,
        title="Seed",
        description="Of the hashes that choose the validation split and sign books.",
        ge=0,
        lt=2**32,
    )
