"""arXiv: bounds on macros."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ArxivRules(BaseModel):
    """arXiv: bounds on macros."""

    arxiv_expansions: int = Field(
        100_000,
        title="Macro expansions per paper",
        description="A paper's macros are expanded at most this often; then the rest stays as"
        " written. Bounds hostile definitions. Ours.",
        ge=0,
    )
