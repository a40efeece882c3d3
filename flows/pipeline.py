"""The whole chain: raw dumps to a promoted Llama-I."""

from __future__ import annotations

import logging

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict

from flows.budget import require_budget
from flows.data import take_data
from flows.evaluation import EvaluationFlowParameters, evaluation
from flows.finetuning import FinetuningFlowParameters, finetuning
from flows.parameters import PipelineConfig, PipelineParameters, resolve
from flows.preparation import PreparationParameters, preparation
from flows.pretraining import PretrainingFlowParameters, model_size, pretraining
from flows.promotion import PromotionParameters, promotion
from flows.session import recorded, settle_emissions
from flows.summary import PipelineSummary, summarise
from flows.tokenizer import TokenizerFlowParameters, tokenizer
from registry.artifacts import ArtifactRef
from tasks.runner import open_workplace, settled


class PipelineRecord(BaseModel):
    """What the registry stores of a pipeline run: the form and the resolved configuration."""

    model_config = ConfigDict(frozen=True)

    form: PipelineParameters
    config: PipelineConfig

    @property
    def emissions(self) -> BaseModel:
        """Factors of the node meter."""
        return self.config.emissions


@flow(name="pipeline")
def pipeline(parameters: PipelineParameters) -> PipelineSummary:
    """Data, tokenizer, pretraining, finetuning, evaluation, promotion; every stage cached."""
    config = resolve(parameters)
    record = PipelineRecord(form=parameters, config=config)
    with recorded("pipeline", record, model_size=model_size(config.pretraining)) as run:
        data = take_data(open_workplace(), run, parameters.data)
        corpus: ArtifactRef = settled(
            preparation(
                PreparationParameters(
                    data=data.root,
                    corpus=config.corpus,
                    quality_models=config.quality_models,
                    quality=config.quality,
                )
            )
        )
        tokenized = settled(
            tokenizer(
                TokenizerFlowParameters(
                    corpus=corpus.digest, tokenizer=config.tokenizer, tokens=config.tokens
                )
            )
        )
        require_budget(open_workplace(), config, tokenized, logging.getLogger("arriero"))
        base = settled(
            pretraining(
                PretrainingFlowParameters(
                    tokens=tokenized.tokens.digest,
                    pretraining=config.pretraining,
                )
            )
        )
        tuned = settled(
            finetuning(
                FinetuningFlowParameters(
                    checkpoint=base.checkpoint.digest,
                    data=data.root,
                    instructions=config.instructions,
                    finetuning=config.finetuning,
                )
            )
        )
        evaluations: dict[str, ArtifactRef] = {}
        for role, trained in (("base", base), ("llama-i", tuned)):
            evaluations[role] = settled(
                evaluation(
                    EvaluationFlowParameters(
                        model=trained.model.digest, data=data.root, evaluation=config.evaluation
                    )
                )
            )
        verdict = settled(
            promotion(PromotionParameters(model=tuned.model.digest, policy=config.promotion))
        )
        place = open_workplace()
        settle_emissions(place, config.emissions)
        summary = summarise(
            place, run.run_id, config, data, corpus, tokenized, base, tuned, evaluations, verdict
        )
        create_markdown_artifact(
            summary.markdown(), key="pipeline-summary", description="What this run made"
        )
        return summary
