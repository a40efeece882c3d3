"""Parameters of the flows: the stages' models composed, presets read and resolved.

A preset is a YAML file in ``flows/presets``; what it leaves out has the default of the stage's
parameter model, which is the paper's value where the paper gives one.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flows.problems import field_problems
from model.presets import preset as model_shape
from registry.gates import GatePolicy
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.quality.parameters import QualityModelParameters, QualityParameters
from tasks.emissions.parameters import EmissionsParameters
from tasks.evaluation.parameters import EvaluationParameters
from tasks.tokens.parameters import TokenizerParameters, TokensParameters
from tasks.training.instructions.parameters import InstructionParameters
from tasks.training.parameters import FinetuningParameters, PretrainingParameters

PRESETS = Path(__file__).parent / "presets"

# The members become the choices of the Prefect form. mypy cannot follow an enumeration whose
# members are the files of a folder.
Preset = StrEnum("Preset", {p.stem: p.stem for p in sorted(PRESETS.glob("*.yaml"))})  # type: ignore[misc]


class PipelineConfig(BaseModel):
    """Everything a run of the whole chain computes; resolved, stored and hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Pipeline configuration")

    corpus: CorpusParameters = Field(
        default_factory=CorpusParameters, title="Corpus", description="Sources to documents."
    )
    quality_models: QualityModelParameters = Field(
        default_factory=QualityModelParameters,
        title="Quality models",
        description="What judges CommonCrawl's pages.",
    )
    quality: QualityParameters = Field(
        default_factory=QualityParameters,
        title="Quality",
        description="Which of CommonCrawl's pages stay.",
    )
    tokenizer: TokenizerParameters = Field(
        default_factory=TokenizerParameters, title="Tokenizer", description="SentencePiece BPE."
    )
    tokens: TokensParameters = Field(
        default_factory=TokensParameters, title="Tokens", description="Token shards."
    )
    pretraining: PretrainingParameters = Field(
        default_factory=PretrainingParameters, title="Pretraining", description="The base model."
    )
    instructions: InstructionParameters = Field(
        default_factory=InstructionParameters, title="Instructions", description="Finetuning data."
    )
    finetuning: FinetuningParameters = Field(
        default_factory=FinetuningParameters, title="Finetuning", description="Llama-I."
    )
    evaluation: EvaluationParameters = Field(
        default_factory=EvaluationParameters, title="Evaluation", description="Benchmarks."
    )
    emissions: EmissionsParameters = Field(
        default_factory=EmissionsParameters, title="Emissions", description="Meter and factors."
    )
    promotion: GatePolicy = Field(
        default_factory=GatePolicy, title="Promotion", description="Gates."
    )

    @model_validator(mode="after")
    def _check_across_stages(self) -> Self:
        base = self.pretraining
        longest = (base.shape or model_shape(base.preset)).context
        if self.instructions.context > longest:
            raise ValueError(
                f"instructions.context {self.instructions.context} is longer than the model's:"
                f" {base.shape_name()} of pretraining has {longest}; lower it"
            )
        return self


class PipelineParameters(BaseModel):
    """The form of the ``pipeline`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Pipeline")

    preset: Preset = Field(
        Preset("nano"),
        title="Preset",
        description="Settings of every stage: nano runs on a laptop in minutes, 7B to 65B are"
        " the paper's models.",
    )
    data: str | None = Field(
        None,
        title="Data folder",
        description="Folder with corpus/, bench/ and instruct/. Empty: ARRIERO_DATA, else a"
        " sample made from the installed Python packages.",
    )
    allow_missing_sources: bool = Field(
        False,
        title="Allow missing sources",
        description="Go on when one of the seven sources is absent; the mixture is renormalised"
        " and the report says so.",
    )
    strict: bool = Field(
        False,
        title="Strict",
        description="End at the first unreadable file instead of counting it.",
    )
    overrides: list[str] = Field(
        default_factory=list,
        title="Overrides",
        description="Single settings over the preset, each `stage.field=value`, for example"
        " pretraining.steps=500.",
    )


def load_preset(name: str) -> dict[str, Any]:
    """The preset's YAML as a mapping.

    Raises:
        ValueError: no such preset; lists the names and near ones.
    """
    names = [member.value for member in Preset]
    exact = {n.lower(): n for n in names}.get(name.lower())
    if exact is None:
        raise ValueError(f"no preset {name!r}{_near(name, names)}; presets: {', '.join(names)}")
    loaded = yaml.safe_load((PRESETS / f"{exact}.yaml").read_text(encoding="utf-8")) or {}
    if not isinstance(loaded, dict):
        raise ValueError(f"preset {exact}: a mapping of stages is expected")
    return loaded


def resolve(parameters: PipelineParameters) -> PipelineConfig:
    """Preset, then the form's switches, then the overrides; every problem reported at once."""
    values = load_preset(parameters.preset.value)
    corpus = dict(values.get("corpus", {}))
    if parameters.allow_missing_sources:
        corpus["allow_missing_sources"] = True
    if parameters.strict:
        corpus["strict"] = True
    values["corpus"] = corpus
    problems: list[str] = []
    for line in parameters.overrides:
        problem = _apply_override(values, line)
        if problem:
            problems.append(problem)
    try:
        config = PipelineConfig.model_validate(values)
    except ValidationError as error:
        problems += field_problems(error, _near_field)
    if problems:
        raise ValueError("the pipeline's parameters do not hold:\n- " + "\n- ".join(problems))
    return config


def _near(name: str, names: Iterable[str]) -> str:
    """`; did you mean x?` for a misspelt name, else nothing."""
    near = difflib.get_close_matches(name, list(names), n=2)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _near_field(place: tuple[int | str, ...]) -> str:
    """Hint for the unknown field at the end of a validation error's place."""
    model: type[BaseModel] = PipelineConfig
    for part in place[:-1]:
        if part in model.model_fields:  # else a key of a mapping, whose values are the model
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return _near(str(place[-1]), model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The parameter model that an annotation holds: plain, optional, or a mapping's value."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for a in get_args(annotation) if (found := _model_in(a))), None)


def _apply_override(values: dict[str, Any], line: str) -> str | None:
    path, separator, text = line.partition("=")
    keys = path.strip().split(".")
    if not separator or len(keys) < 2 or not all(keys):
        return f"override {line!r}: write stage.field=value"
    if keys[0] not in PipelineConfig.model_fields:
        stages = PipelineConfig.model_fields
        hint = _near(keys[0], stages)
        return f"override {line!r}: no stage {keys[0]!r}{hint}; stages: {', '.join(stages)}"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return f"override {line!r}: the value is not readable"
    target = values
    for key in keys[:-1]:
        inner = target.get(key)
        target[key] = dict(inner) if isinstance(inner, dict) else {}
        target = target[key]
    target[keys[-1]] = value
    return None
