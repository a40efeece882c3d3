"""Books: when two are the same."""

from __future__ import annotations

from pydantic import BaseModel, Field


class BookRules(BaseModel):
    """Books: when two are the same."""

    book_overlap: float = Field(
        0.9,
        title="Overlap of the same book",
        description="Of two books the shorter one goes when more than this share of its distinct"
        " 5-word shingles is in the other: it is an edition of it, or a part. Source: the paper's"
        " 'more than 90% content overlap'.",
        gt=0.0,
        le=1.0,
    )
