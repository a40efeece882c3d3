"""Heuristics on web text: C4's rules, Gopher's quality and repetition rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, model_validator


class HeuristicRules(BaseModel):
    """Heuristics on web text: C4's rules, Gopher's quality and repetition rules.

    A share is compared with its bound: a document at the bound stays, one beyond it goes.
    """

    c4_rules: bool = Field(
        False,
        title="C4's rules",
        description="Clean crawled pages by C4's heuristics (Raffel et al. 2020, section 2.2). The"
        " paper takes C4 as published and cleans CommonCrawl by CCNet.",
    )
    c4_curly_bracket: bool = Field(
        True,
        title="C4: no curly bracket",
        description="Remove pages with a `{` anywhere. Source: C4.",
    )
    c4_lorem_ipsum: bool = Field(
        True,
        title="C4: no lorem ipsum",
        description="Remove pages with `lorem ipsum` anywhere, in any case. Source: C4.",
    )
    bad_words: tuple[str, ...] = Field(
        (),
        title="Bad words",
        description="Remove pages with any of these words or phrases (any case, whole words)."
        " Empty = off: C4's list is not shipped.",
        max_length=100_000,
    )
    bad_words_file: Path | None = Field(
        None,
        title="File of bad words",
        description="UTF-8, a word or phrase on each line, `#` begins a comment line. Read once,"
        " where the parameters are made; its content becomes `bad_words`, so that the recipe holds"
        " the words and not the path.",
        json_schema_extra={"recipe": False},
    )
    c4_max_word: int = Field(
        1000,
        title="C4: longest word",
        description="Remove lines with a word (between white space) of more characters; 0 = off."
        " Source: C4's code, not its paper.",
        ge=0,
    )
    c4_citations: bool = Field(
        True,
        title="C4: no citation markers",
        description="Remove `[1]`, `[]`, `[edit]` and `[citation needed]` from lines. Source: C4.",
    )
    c4_terminal_marks: str = Field(
        ".!?\"'”’",
        title="C4: terminal marks",
        description="Remove lines that end in none of these marks, or in `...`; empty = off."
        " Source: C4 (period, exclamation mark, question mark, end quotation mark; its code knows"
        " the straight ones only).",
        max_length=100,
    )
    c4_min_words: int = Field(
        3,
        title="C4: words per line",
        description="Remove lines with fewer words (between white space); 0 = off. Two printings"
        " of the C4 paper circulate: 3 words with 5 sentences (also its code, and datatrove's"
        " C4QualityFilter: the default), or 5 words with 3 sentences.",
        ge=0,
    )
    c4_javascript: bool = Field(
        True,
        title="C4: no javascript",
        description="Remove lines with `javascript`, in any case. Source: C4.",
    )
    c4_policy: tuple[str, ...] = Field(
        (
            "terms of use",
            "privacy policy",
            "cookie policy",
            "uses cookies",
            "use of cookies",
            "use cookies",
        ),
        title="C4: policy lines",
        description="Remove lines with any of these phrases, in any case; empty = off. Source: C4's"
        " code.",
        max_length=1000,
    )
    c4_min_sentences: int = Field(
        5,
        title="C4: sentences per page",
        description="Remove pages with fewer sentences in the lines that are left; 0 = off. See"
        " `c4_min_words` for the two printings.",
        ge=0,
    )
    gopher_rules: bool = Field(
        False,
        title="Gopher's rules",
        description="Remove pages by the quality and repetition rules of Rae et al. 2021, appendix"
        " A.1.1. Not in the paper.",
    )
    gopher_min_words: int = Field(
        50,
        title="Gopher: least words",
        description="Words of a page; punctuation marks are none. Source: Gopher.",
        ge=0,
    )
    gopher_max_words: int = Field(
        100_000,
        title="Gopher: most words",
        description="Words of a page; punctuation marks are none. Source: Gopher.",
        ge=1,
    )
    gopher_min_word_length: float = Field(
        3.0,
        title="Gopher: least mean word",
        description="Mean length of a page's words, in characters. Source: Gopher.",
        ge=0,
    )
    gopher_max_word_length: float = Field(
        10.0,
        title="Gopher: greatest mean word",
        description="Mean length of a page's words, in characters. Source: Gopher.",
        ge=0,
    )
    gopher_symbols: float = Field(
        0.1,
        title="Gopher: symbols per word",
        description="Most hash signs per word, and most ellipses per word. Source: Gopher.",
        ge=0,
    )
    gopher_bullets: float = Field(
        0.9,
        title="Gopher: bullet lines",
        description="Greatest share of lines (not blank) that begin with a bullet. Source: Gopher.",
        ge=0,
        le=1,
    )
    gopher_ellipses: float = Field(
        0.3,
        title="Gopher: ellipsis lines",
        description="Greatest share of lines (not blank) that end with an ellipsis. Source:"
        " Gopher.",
        ge=0,
        le=1,
    )
    gopher_alphabetic: float = Field(
        0.8,
        title="Gopher: words with a letter",
        description="Least share of words with a letter. Source: Gopher; punctuation marks count"
        " as words here, as in datatrove.",
        ge=0,
        le=1,
    )
    gopher_stop_words: int = Field(
        2,
        title="Gopher: stop words",
        description="Least number of different words of: the, be, to, of, and, that, have, with."
        " Source: Gopher.",
        ge=0,
        le=8,
    )
    gopher_lines: float = Field(
        0.3,
        title="Gopher: repeated lines",
        description="Greatest share of lines that stood before in the page. Source: Gopher, A1.",
        ge=0,
        le=1,
    )
    gopher_line_characters: float = Field(
        0.2,
        title="Gopher: characters of repeated lines",
        description="Greatest share of characters in lines that stood before. Source: Gopher, A1.",
        ge=0,
        le=1,
    )
    gopher_paragraphs: float = Field(
        0.3,
        title="Gopher: repeated paragraphs",
        description="Greatest share of paragraphs (between blank lines) that stood before. Source:"
        " Gopher, A1.",
        ge=0,
        le=1,
    )
    gopher_paragraph_characters: float = Field(
        0.2,
        title="Gopher: characters of repeated paragraphs",
        description="Greatest share of characters in paragraphs that stood before. Source: Gopher,"
        " A1.",
        ge=0,
        le=1,
    )
    gopher_top_ngrams: tuple[float, ...] = Field(
        (0.2, 0.18, 0.16),
        title="Gopher: most frequent n-gram",
        description="Greatest share of characters in the most frequent n-gram of words, for n = 2,"
        " 3, 4. Source: Gopher, A1.",
        min_length=3,
        max_length=3,
    )
    gopher_repeated_ngrams: tuple[float, ...] = Field(
        (0.15, 0.14, 0.13, 0.12, 0.11, 0.1),
        title="Gopher: repeated n-grams",
        description="Greatest share of characters in n-grams of words that stood before, for n = 5"
        " to 10. Source: Gopher, A1.",
        min_length=6,
        max_length=6,
    )

    @model_validator(mode="before")
    @classmethod
    def _read_bad_words(cls, values: Any) -> Any:
        """Put the content of ``bad_words_file`` into ``bad_words``; the path is spent by that."""
        if not isinstance(values, dict) or not values.get("bad_words_file"):
            return values
        if values.get("bad_words"):
            raise ValueError("bad_words and bad_words_file are both set: give one of them")
        path = Path(values["bad_words_file"])
        try:
            content = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"bad_words_file {path} cannot be read: {error}") from error
        stripped = (line.strip() for line in content.splitlines())
        words = sorted({line.lower() for line in stripped if line and not line.startswith("#")})
        if not words:
            raise ValueError(f"bad_words_file {path} holds no words")
        return values | {"bad_words": tuple(words), "bad_words_file": None}
