"""The corpus as a whole: what is held out."""

from __future__ import annotations

from pydantic import BaseModel, Field


class SplitRules(BaseModel):
    """The corpus as a whole: what is held out."""

    validation_fraction: float = Field(
        0.01,
        title="Validation fraction",
        description="Share of documents held out, chosen by the hash of their near-duplicate"
        " cluster over all sources. Ours; the paper does not say.",
        ge=0.0,
        lt=1.0,
    )
    validation_minimum: int = Field(
        1,
        title="Validation documents at least",
        description="Documents held out per source even when the fraction gives fewer; at most"
        " half of a source. Keeps perplexity per source defined on small corpora. Ours.",
        ge=0,
    )
