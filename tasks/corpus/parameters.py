"""Parameters of corpus preparation: one frozen model, the form in the Prefect UI."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.corpus.mixture import SOURCES, TABLE1
from tasks.corpus.rules.arxiv import ArxivRules
from tasks.corpus.rules.books import BookRules
from tasks.corpus.rules.c4 import C4SourceRules
from tasks.corpus.rules.code import CodeRules
from tasks.corpus.rules.decontamination import DecontaminationRules
from tasks.corpus.rules.dedup import DedupRules
from tasks.corpus.rules.execution import ExecutionRules
from tasks.corpus.rules.finish import FinishRules
from tasks.corpus.rules.languages import LanguageRules
from tasks.corpus.rules.reading import ReadingRules
from tasks.corpus.rules.split import SplitRules
from tasks.corpus.rules.stackexchange import StackExchangeRules
from tasks.corpus.rules.web import WebSourceRules
from tasks.corpus.rules.wikipedia import WikipediaRules

# What the documents of each source depend on, beside its cap: models below, joined by
# CorpusParameters into one flat form.
_RULES: dict[str, tuple[type[BaseModel], ...]] = {
    "commoncrawl": (WebSourceRules,),
    "c4": (C4SourceRules,),
    "github": (CodeRules,),
    "wikipedia": (LanguageRules, WikipediaRules),
    "books": (LanguageRules, BookRules),
    "arxiv": (ArxivRules,),
    "stackexchange": (StackExchangeRules,),
}


class SourceRules(BaseModel):
    """The part of the corpus parameters that decides one source's documents."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Rules of one source")

    source: str = Field(..., title="Source", description="Name of the source, as in Table 1.")
    rules: dict[str, Any] = Field(
        ..., title="Rules", description="Values of the parameters its documents depend on."
    )


class MixtureRules(DedupRules, DecontaminationRules, SplitRules):
    """The part of the corpus parameters that decides how documents become a corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Rules of the mixture")

    seed: int = Field(..., title="Seed", description="Of the hash that chooses them.")
    keep_rejected: bool = Field(
        ..., title="Keep rejected documents", description="Whether their whole texts are kept."
    )
    allow_missing_sources: bool = Field(
        ...,
        title="Allow missing sources",
        description="A corpus of fewer sources is none for a run that needs all.",
    )


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

    def reached(self, documents: int, size: int) -> bool:
        """Whether this many documents and bytes are all that is wanted."""
        too_many = self.max_documents is not None and documents >= self.max_documents
        return too_many or (self.max_bytes is not None and size >= self.max_bytes)

    @property
    def is_set(self) -> bool:
        """Whether there is any bound."""
        return self.max_documents is not None or self.max_bytes is not None


class CorpusParameters(
    ExecutionRules,
    ReadingRules,
    FinishRules,
    DedupRules,
    DecontaminationRules,
    SplitRules,
    StackExchangeRules,
    ArxivRules,
    BookRules,
    WikipediaRules,
    CodeRules,
    C4SourceRules,
    WebSourceRules,
    LanguageRules,
):
    """From raw dumps to documents: rules of the seven sources, deduplication, split, mixture."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Corpus")

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
        models: tuple[type[BaseModel], ...] = (ReadingRules, *_RULES[source])
        rules = {
            name: getattr(self, name)
            for model in models
            for name, field in model.model_fields.items()
            if not (
                isinstance(field.json_schema_extra, dict)
                and field.json_schema_extra.get("recipe") is False
            )
        }
        rules |= self.finishing(source)
        return SourceRules(source=source, rules=rules | {"cap": self.cap(source).model_dump()})

    def mixture_rules(self) -> MixtureRules:
        """What the assembly of the corpus depends on, beside its documents."""
        models = (DedupRules, DecontaminationRules, SplitRules)
        names = [name for model in models for name in model.model_fields]
        names += ["seed", "keep_rejected", "allow_missing_sources"]
        return MixtureRules(**{name: getattr(self, name) for name in names})
