"""Duplicates over all sources: what is done with near ones, and the memory that finds them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class DedupMemory(BaseModel):
    """What deduplication may hold, in a source and over all of them."""

    dedup_memory_mb: int = Field(
        2048,
        title="Memory of deduplication",
        description="MB that deduplication over all documents holds at a time, and that over the"
        " lines and spans of crawled pages; with less, it goes through more partitions of the"
        " hashes. Decides nothing about the result.",
        ge=64,
        le=1_000_000,
        json_schema_extra={"recipe": False},
    )


class DedupRules(DedupMemory):
    """Duplicates over all sources: what is done with near ones, and the memory that finds them."""

    near_duplicates: Literal["keep", "remove"] = Field(
        "keep",
        title="Near-duplicates",
        description="keep: documents that are nearly the same are only kept on one side of the"
        " validation split. remove: of every cluster of them the first document in the order of"
        " Table 1 stays. The paper removes near-duplicate books, and lines of web pages, each in"
        " its source.",
    )
    near_duplicate_similarity: float = Field(
        0.8,
        title="Similarity of near-duplicates",
        description="With near_duplicates = remove: the least Jaccard similarity of the 5-word"
        " shingles of two documents, as 256 MinHash bins estimate it (standard error 0.025 at"
        " 0.8). Candidates share one of 32 bands of 8 bins: 99.7 % of the pairs at 0.8, 85 % at"
        " 0.7. Source: datatrove and FineWeb cut at about 0.72 to 0.8. Ours.",
        ge=0.7,
        le=1.0,
    )
