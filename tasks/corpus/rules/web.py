"""Crawled pages: extraction; CommonCrawl: language, line deduplication, length."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from tasks.corpus.rules.dedup import DedupMemory
from tasks.corpus.rules.heuristics import HeuristicRules


class ExtractionRules(BaseModel):
    """How the text of a crawled page is taken from its HTML."""

    web_extractor: Literal["resiliparse", "trafilatura"] = Field(
        "resiliparse",
        title="Text extractor",
        description="What takes the main content from HTML. trafilatura is more precise, twelve"
        " times slower, and needs arriero[trafilatura]. The paper does not say; CCNet takes the"
        " WET files' text.",
    )


class WebRules(ExtractionRules, DedupMemory):
    """CommonCrawl: language, line deduplication, length."""

    web_language: str = Field(
        "en",
        title="Language of CommonCrawl",
        description="ISO 639-1 code; other pages are removed. The paper keeps English.",
        pattern="^[a-z]{2,3}$",
    )
    language_threshold: float = Field(
        0.5,
        title="Language threshold",
        description="Least fastText probability of a page's language. Source: cc_net.",
        ge=0.0,
        le=1.0,
    )
    minimum_characters: int = Field(
        300,
        title="Shortest web page",
        description="Characters a CommonCrawl page must keep after line deduplication. Source:"
        " cc_net (min_len).",
        ge=0,
    )
    line_dedup_files: int = Field(
        50,
        title="Files per line-dedup group",
        description="Repeated lines are removed within groups of this many CommonCrawl files;"
        " bounds memory. Source: cc_net (hash_in_mem).",
        ge=1,
    )


class WebSourceRules(WebRules, HeuristicRules):
    """CommonCrawl: its own rules, and the heuristics that may follow."""
