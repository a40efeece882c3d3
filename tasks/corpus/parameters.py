"""Parameters of corpus preparation: one frozen model, the form in the Prefect UI."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.corpus.mixture import SOURCES, TABLE1

WIKIPEDIA_LANGUAGES = (
    "bg", "ca", "cs", "da", "de", "en", "es", "fr", "hr", "hu",
    "it", "nl", "pl", "pt", "ro", "ru", "sl", "sr", "sv", "uk",
)  # fmt: skip


# Fields of CorpusParameters that decide the documents of one source, beside its cap.
_EVERY_SOURCE = ("strict", "keep_rejected", "seed")
_RULES: dict[str, tuple[str, ...]] = {
    "commoncrawl": (
        "web_language",
        "language_threshold",
        "minimum_characters",
        "line_dedup_files",
    ),
    "c4": (),
    "github": ("code_max_line", "code_mean_line", "code_alphanumeric", "github_packages"),
    "wikipedia": ("languages", "wikipedia_max_characters", "wikipedia_minimum_characters"),
    "books": ("languages", "book_overlap"),
    "arxiv": ("arxiv_expansions",),
    "stackexchange": ("stackexchange_sites",),
}


class SourceRules(BaseModel):
    """The part of the corpus parameters that decides one source's documents."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Rules of one source")

    source: str = Field(..., title="Source", description="Name of the source, as in Table 1.")
    rules: dict[str, Any] = Field(
        ..., title="Rules", description="Values of the parameters its documents depend on."
    )


class MixtureRules(BaseModel):
    """The part of the corpus parameters that decides how documents become a corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Rules of the mixture")

    validation_fraction: float = Field(
        ..., title="Validation fraction", description="Share of documents held out, 0..1."
    )
    validation_minimum: int = Field(
        ..., title="Validation minimum", description="Documents held out per source at least."
    )
    seed: int = Field(..., title="Seed", description="Of the hash that chooses them.")


class SourceCap(BaseModel):
    """Upper bound on what one source gives; the first documents in the order of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Cap of one source")

    max_documents: int | None = Field(
        None,
        title="Documents at most",
        description="Stop the source after this many documents; empty = no cap.",
        ge=1,
    )
    max_bytes: int | None = Field(
        None,
        title="Bytes at most",
        description="Stop the source once its documents hold this many UTF-8 bytes; empty = no"
        " cap. The document that crosses the line is kept.",
        ge=1,
    )


class CorpusParameters(BaseModel):
    """From raw dumps to documents: rules of the seven sources, deduplication, split, mixture."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Corpus")

    languages: tuple[str, ...] = Field(
        WIKIPEDIA_LANGUAGES,
        title="Languages of Wikipedia and books",
        description="ISO 639-1 codes kept in Wikipedia and books. Default: the paper's 20"
        " languages in Latin or Cyrillic script (section 2.1).",
        min_length=1,
    )
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
    code_max_line: int = Field(
        1000,
        title="Longest line of code",
        description="Characters; a file with a longer line is removed. Source: RedPajama v1.",
        ge=1,
    )
    code_mean_line: float = Field(
        100.0,
        title="Mean line of code",
        description="Characters; a file with a greater mean is removed. Source: RedPajama v1.",
        gt=0,
    )
    code_alphanumeric: float = Field(
        0.25,
        title="Alphanumeric share of code",
        description="Least share of alphanumeric characters in 0..1. Source: RedPajama v1.",
        ge=0.0,
        le=1.0,
    )
    github_packages: bool = Field(
        False,
        title="Take the installed Python packages as GitHub source",
        description="Take the source trees of the installed Python packages, by the licence in"
        " their metadata, in addition to what the github folder holds.",
    )
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
    book_overlap: float = Field(
        0.9,
        title="Overlap of the same book",
        description="Two books are one when this share of the shorter one's 5-word shingles is"
        " in the other. Source: the paper's 'more than 90% content overlap'.",
        gt=0.0,
        le=1.0,
    )
    arxiv_expansions: int = Field(
        100_000,
        title="Macro expansions per paper",
        description="A paper's macros are expanded at most this often; then the rest stays as"
        " written. Bounds hostile definitions. Ours.",
        ge=0,
    )
    stackexchange_sites: int = Field(
        28,
        title="Stack Exchange sites",
        description="The largest sites by questions and answers. Source: the paper, section 2.1"
        " (28 largest); the measure of size is RedPajama v1's.",
        ge=1,
    )
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
    caps: dict[str, SourceCap] = Field(
        default_factory=dict,
        title="Caps",
        description="Source name -> cap. For small presets; the paper's run has none.",
    )
    allow_missing_sources: bool = Field(
        False,
        title="Allow missing sources",
        description="Go on when a source has no files; the mixture is renormalised over the"
        " sources present and the report says so.",
    )
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
    workers: int = Field(
        2,
        title="Worker processes",
        description="Processes per source; the result does not depend on it.",
        ge=1,
        le=256,
        json_schema_extra={"recipe": False},
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        unknown = sorted(set(self.caps) - set(SOURCES))
        if unknown:
            problems.append(f"caps: unknown sources {unknown}; known are {list(SOURCES)}")
        odd = [code for code in self.languages if not (code.isalpha() and code.islower())]
        if odd:
            problems.append(f"languages: {odd} are no ISO 639-1 codes (two lower-case letters)")
        if len(set(self.languages)) != len(self.languages):
            problems.append("languages: a code is listed twice")
        if self.code_mean_line > self.code_max_line:
            problems.append("code_mean_line is greater than code_max_line")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def cap(self, source: str) -> SourceCap:
        """The cap of ``source``; an empty one when none is set."""
        assert source in TABLE1
        return self.caps.get(source, SourceCap(max_documents=None, max_bytes=None))

    def source_rules(self, source: str) -> SourceRules:
        """What the documents of ``source`` depend on: its recipe, so that another source's rule or
        the validation split can change without reading this source again."""
        rules = {name: getattr(self, name) for name in _EVERY_SOURCE + _RULES[source]}
        return SourceRules(source=source, rules=rules | {"cap": self.cap(source).model_dump()})

    def mixture_rules(self) -> MixtureRules:
        """What the assembly of the corpus depends on, beside its documents."""
        return MixtureRules(
            validation_fraction=self.validation_fraction,
            validation_minimum=self.validation_minimum,
            seed=self.seed,
        )
