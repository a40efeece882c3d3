"""C4: its own crawl text, where there is some; what is published as C4 is taken as it is."""

from __future__ import annotations

from pydantic import Field

from tasks.corpus.rules.dedup import DedupMemory
from tasks.corpus.rules.heuristics import HeuristicRules
from tasks.corpus.rules.web import ExtractionRules


class C4SourceRules(ExtractionRules, DedupMemory, HeuristicRules):
    """C4: extraction, language, heuristics and three-sentence deduplication of its crawl files."""

    c4_language_threshold: float = Field(
        0.8,
        title="C4: language threshold",
        description="Least fastText probability of English for crawl files under c4. C4 has 0.99 by"
        " langdetect; of 1000 of its pages fastText gives 99 % at least 0.8, but only 8 % at least"
        " 0.99. Ours.",
        ge=0.0,
        le=1.0,
    )
    c4_span_sentences: int = Field(
        3,
        title="C4: sentences of a span",
        description="Of any span of this many sentences that occurs more than once, the first"
        " occurrence stays (crawl files under c4); 0 = off. Source: C4.",
        ge=0,
        le=100,
    )
