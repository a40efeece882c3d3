"""GitHub: what is source code of quality."""

from __future__ import annotations

from pydantic import BaseModel, Field

from tasks.corpus.sources.code_languages import LANGUAGES


class CodeRules(BaseModel):
    """GitHub: what is source code of quality."""

    code_extensions: tuple[str, ...] = Field(
        tuple(sorted(LANGUAGES)),
        title="Extensions of code",
        description="Extensions of the files that are read, in lower case and without the dot;"
        " makefile, dockerfile, cmake and rb stand for Makefile, Dockerfile, CMakeLists.txt and"
        " Rakefile or Gemfile, too. Source: a list of our own in the manner of RedPajama v1's.",
        min_length=1,
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
    code_letters_per_token: float = Field(
        1.5,
        title="Letters per token of code",
        description="Least number of letters per token; fewer have tables of numbers and signs. A"
        " token is a run of letters, digits and underscores, or a run of other signs that are no"
        " white space: tables of numbers have fewer letters than 1.5 per token by any tokenizer, so"
        " none is needed here. Source of the number: RedPajama v1, which counts GPT-NeoX's tokens.",
        ge=0.0,
    )
    github_packages: bool = Field(
        False,
        title="Take the installed Python packages as GitHub source",
        description="Take the source trees of the installed Python packages, by the licence in"
        " their metadata, in addition to what the github folder holds.",
    )
