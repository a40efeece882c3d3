"""Wikipedia: limits on articles."""

from __future__ import annotations

from pydantic import BaseModel, Field


class WikipediaRules(BaseModel):
    """Wikipedia: limits on articles."""

    wikipedia_max_characters: int = Field(
        500_000,
        title="Longest wikitext page",
        description="Characters of wikitext; longer pages are removed, as parsing them takes"
        " about a second per megabyte. Ours; Wikipedia itself allows 2 MiB.",
        ge=1_000,
    )
    wikipedia_minimum_characters: int = Field(
        100,
        title="Shortest Wikipedia article",
        description="Characters of plain text an article must have. Ours.",
        ge=0,
    )
