"""Token shards to a base model, and the same weights as a Hugging Face folder."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.references import find_artifact
from flows.session import recorded
from registry.artifacts import ArtifactRef, Kind
from tasks.runner import open_workplace, settled
from tasks.training.parameters import PretrainingParameters
from tasks.training.stage import export_model, pretrain


class PretrainingFlowParameters(BaseModel):
    """The form of the ``pretraining`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Pretraining run")

    tokens: str = Field(
        "latest", title="Tokens", description="`latest`, or the digest of a tokens artifact."
    )
    pretraining: PretrainingParameters = Field(
        default_factory=PretrainingParameters, title="Pretraining", description="Model and run."
    )


class Trained(BaseModel):
    """What a training flow made."""

    model_config = ConfigDict(frozen=True)

    checkpoint: ArtifactRef
    model: ArtifactRef


def model_size(parameters: PretrainingParameters) -> str:
    """How records name the size of the model that these parameters train."""
    return "own shape" if parameters.shape else parameters.preset


@flow(name="pretraining")
def pretraining(parameters: PretrainingFlowParameters) -> Trained:
    """Train from scratch; a retry continues at the newest valid checkpoint, to the same bits.

    The tokenizer is the one the tokens were made with, never chosen apart from them.
    """
    size = model_size(parameters.pretraining)
    with recorded("pretraining", parameters, model_size=size) as run:
        place = open_workplace()
        tokens = find_artifact(place, parameters.tokens, Kind.TOKENS, "tokens")
        trained_tokenizer = find_artifact(
            place, place.store.manifest(tokens).inputs["tokenizer"], Kind.TOKENIZER, "tokenizer"
        )
        checkpoint = settled(pretrain(parameters.pretraining, tokens, trained_tokenizer, run))
        model = settled(export_model(checkpoint, run))
        return Trained(checkpoint=checkpoint, model=model)
