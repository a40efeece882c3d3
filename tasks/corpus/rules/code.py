"""GitHub: what is source code of quality."""

from __future__ import annotations

from pydantic import BaseModel, Field


class CodeRules(BaseModel):
    """GitHub: what is source code of quality."""

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
