"""What holds for every source: bad files, rejects, seed."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ReadingRules(BaseModel):
    """What holds for every source: bad files, rejects, seed."""

    strict: bool = Field(
        False,
        title="Strict",
        description="End the run at the first unreadable file instead of counting it.",
    )
    keep_rejected: bool = Field(
        False,
        title="Keep rejected documents",
        description="Also write what was removed, with filter and reason, for audit.",
    )
    seed: int = Field(
        0,
        title="Seed",
        description="Of the hashes that choose the validation split and sign books.",
        ge=0,
        lt=2**32,
    )
