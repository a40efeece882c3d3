"""Languages of Wikipedia and books."""

from __future__ import annotations

from pydantic import BaseModel, Field

WIKIPEDIA_LANGUAGES = (
    "bg", "ca", "cs", "da", "de", "en", "es", "fr", "hr", "hu",
    "it", "nl", "pl", "pt", "ro", "ru", "sl", "sr", "sv", "uk",
)  # fmt: skip


class LanguageRules(BaseModel):
    """Languages of Wikipedia and books."""

    languages: tuple[str, ...] = Field(
        WIKIPEDIA_LANGUAGES,
        title="Languages of Wikipedia and books",
        description="ISO 639-1 codes kept in Wikipedia and books. Default: the paper's 20"
        " languages in Latin or Cyrillic script (section 2.1).",
        min_length=1,
    )
