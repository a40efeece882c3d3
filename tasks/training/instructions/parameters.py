"""Parameters of the instruction data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Caps(BaseModel):
    """Most examples taken from one file (one task), by the family of its format.

    Defaults: Chung et al. 2022, Table 23 (Muffin 30,000, T0-SF 20,000, CoT 100,000, NIV2 5,000).
    0 leaves the family out. Duplicates are removed before the cap is applied. Which examples stay
    is decided by hash, not by their place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Caps per file")

    chain_of_thought: int = Field(
        default=100_000,
        title="Chain of thought",
        description="Examples per file of question, answer and rationale (Flan CoT).",
        ge=0,
    )
    prompted: int = Field(
        default=20_000,
        title="Prompted tasks",
        description="Examples per file of prompt and completion (T0, P3).",
        ge=0,
    )
    natural_instructions: int = Field(
        default=5_000,
        title="Natural instructions",
        description="Instances per task file of Super-NaturalInstructions.",
        ge=0,
    )
    dialogue: int = Field(
        default=30_000,
        title="Dialogue",
        description="Assistant turns per file of OpenAssistant conversations.",
        ge=0,
    )
    instructions: int = Field(
        default=30_000,
        title="Instructions",
        description="Examples per file of the Alpaca, Dolly and Self-Instruct kinds.",
        ge=0,
    )


class InstructionParameters(BaseModel):
    """Instruction data to packed rows: prompt and target, loss on the target only."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Instructions")

    context: int = Field(
        default=2048,
        title="Row length (tokens)",
        description="Tokens per packed row, at most the model's context; a longer example is left "
        "out whole and counted. Source: the paper's context; the nano preset takes its own.",
        ge=16,
        le=1_048_576,
    )
    template: Literal["plain", "alpaca"] = Field(
        default="plain",
        title="Prompt template",
        description="plain: the instruction, a blank line and the input where there is one, then "
        "'\\nAnswer:\\n'. alpaca: the headings '### Instruction:', '### Input:', '### Response:'. "
        "In both the target follows the prompt's last line break and ends with EOS.",
    )
    caps: Caps = Field(
        default_factory=Caps,
        title="Caps per file",
        description="Most examples of one file, by family. Source: Chung et al. 2022, Table 23.",
    )
    languages: tuple[str, ...] = Field(
        default=("en",),
        title="Languages",
        description="ISO 639-1 codes of dialogue messages that are kept; files that do not name a "
        "language are kept. Empty: all.",
    )
    validation_fraction: float = Field(
        default=0.01,
        title="Validation share",
        description="Share of prompts (by hash) held out of finetuning; a prompt's examples are "
        "all on one side.",
        ge=0.0,
        le=0.5,
    )
    seed: int = Field(
        default=0,
        title="Seed",
        description="Decides the examples kept by a cap, the validation split and the packing of "
        "examples of equal length.",
        ge=0,
    )
    workers: int = Field(
        default=1,
        title="Worker processes",
        description="Processes that encode examples; the rows do not depend on it.",
        ge=1,
        le=256,
        json_schema_extra={"recipe": False},
    )


class FingerprintParameters(BaseModel):
    """The instruction files of a data folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Instruction files")

    folder: str = Field(
        default="instruct",
        title="Folder",
        description="Folder inside the data folder; below it one folder per data set.",
        pattern=r"^[A-Za-z0-9_.-]+$",
    )
