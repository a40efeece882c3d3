"""A base model to Llama-I: instruction data packed, loss on targets only."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.data import take_data
from flows.pretraining import Trained
from flows.references import find_artifact
from flows.session import recorded
from registry.artifacts import ArtifactRef, Kind
from tasks.runner import open_workplace, settled
from tasks.training.instructions.parameters import InstructionParameters
from tasks.training.instructions.stage import fingerprint_instructions, prepare_instructions
from tasks.training.parameters import FinetuningParameters
from tasks.training.stage import export_model, finetune


class FinetuningFlowParameters(BaseModel):
    """The form of the ``finetuning`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Finetuning run")

    checkpoint: str = Field(
        "latest",
        title="Base checkpoint",
        description="`latest`, or the digest of a pretraining checkpoint.",
    )
    data: str | None = Field(
        None,
        title="Data folder",
        description="Folder with instruct/. Empty: ARRIERO_DATA, else the sample.",
    )
    instructions: InstructionParameters = Field(
        default_factory=InstructionParameters, title="Instructions", description="Packing."
    )
    finetuning: FinetuningParameters = Field(
        default_factory=FinetuningParameters, title="Finetuning", description="The run."
    )


class Finetuned(Trained):
    """What a finetuning made, and of what."""

    instructions: ArtifactRef


@flow(name="finetuning")
def finetuning(parameters: FinetuningFlowParameters) -> Finetuned:
    """Finetune with the tokenizer that the base model was trained with."""
    with recorded("finetuning", parameters) as run:
        place = open_workplace()
        base = find_artifact(place, parameters.checkpoint, Kind.CHECKPOINT, "pretraining")
        trained_tokenizer = find_artifact(
            place,
            place.store.manifest(base).inputs["tokenizer"],
            Kind.TOKENIZER,
            "tokenizer",
        )
        data = take_data(place, run, parameters.data, any_of=("instruct",))
        raw = settled(fingerprint_instructions(data.root, data.sample, run))
        rows = settled(
            prepare_instructions(parameters.instructions, raw, trained_tokenizer, data.root, run)
        )
        checkpoint = settled(finetune(parameters.finetuning, base, rows, run))
        model = settled(export_model(checkpoint, run))
        return Finetuned(checkpoint=checkpoint, model=model, instructions=rows)
