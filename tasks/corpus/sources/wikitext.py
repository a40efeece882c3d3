"""Wikitext to plain text, in time that grows with the length of the page and no faster.

The order is MediaWiki's: comments and tags, templates, tables, links, apostrophes, then lines. Each
step is one scan over the text with an explicit stack; none looks at a part of the text more than a
bounded number of times, whatever the markup is. What a step removes leaves a mark, so that the
last step tidies spaces and brackets only where something is gone.
"""

from __future__ import annotations

from tasks.corpus.sources.wikitext_lines import rendered_lines, tidied_lines
from tasks.corpus.sources.wikitext_links import without_links, without_variants
from tasks.corpus.sources.wikitext_marks import PIPE, put_back, without_controls
from tasks.corpus.sources.wikitext_quotes import without_quotes
from tasks.corpus.sources.wikitext_tables import without_tables
from tasks.corpus.sources.wikitext_tags import without_tags
from tasks.corpus.sources.wikitext_templates import without_templates

__all__ = ["plain_text"]


def plain_text(wikitext: str) -> str:
    """Readable text of ``wikitext``: paragraphs, headings, list items.

    Templates (but for those that are text, see ``wikitext_renderings``), tables, references,
    files, categories, comments and language links are removed; links keep their label; formulas
    and code stay as they are written. A heading without text below it is removed. Characters that
    stand for removed markup inside this package (controls, which XML cannot hold) are dropped.
    """
    literal: list[str] = []
    text = without_tags(without_controls(wikitext), literal)
    text = without_templates(text)
    text = without_variants(text)
    text = without_tables(text.replace(PIPE, "|"))
    text = without_links(text)
    text = without_quotes(text)
    text = rendered_lines(text)
    return put_back(tidied_lines(text), literal)
