"""Stack Exchange: which sites."""

from __future__ import annotations

from pydantic import BaseModel, Field


class StackExchangeRules(BaseModel):
    """Stack Exchange: which sites."""

    stackexchange_sites: int = Field(
        28,
        title="Stack Exchange sites",
        description="The largest sites by questions and answers. Source: the paper, section 2.1"
        " (28 largest); the measure of size is RedPajama v1's.",
        ge=1,
    )
