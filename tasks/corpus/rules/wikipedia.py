"""Wikipedia: limits on articles."""

from __future__ import annotations

from pydantic import BaseModel, Field


class WikipediaRules(BaseModel):
    """Wikipedia: limits on articles."""

    wikipedia_max_characters: int = Field(
        2_097_152,
        title="Longest wikitext page",
        description="Characters of wikitext; longer pages are removed. MediaWiki's own limit,"
        " 2 MiB, which no page of Wikipedia exceeds: reading one takes a fraction of a second.",
        ge=1_000,
    )
    wikipedia_minimum_characters: int = Field(
        100,
        title="Shortest Wikipedia article",
        description="Characters of plain text an article must have. Ours.",
        ge=0,
    )
