"""Documents of Wikipedia and of the crawl to the models that judge web pages."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.references import find_artifact
from flows.session import recorded
from registry.artifacts import ArtifactRef, Kind
from tasks.corpus.quality.parameters import QualityModelParameters
from tasks.corpus.quality.stage import train_quality_models
from tasks.runner import open_workplace, settled


class QualityModelsFlowParameters(BaseModel):
    """The form of the ``quality_models`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Quality models")

    wikipedia: str = Field(
        "latest",
        title="Wikipedia",
        description="`latest`, or the digest of Wikipedia's documents: the text of the language"
        " models, and the references.",
    )
    pages: str = Field(
        "latest",
        title="Crawl pages",
        description="`latest`, or the digest of CommonCrawl's documents before the quality filter.",
    )
    c4: str = Field(
        "",
        title="C4",
        description="`latest`, or the digest of C4's documents: more pages for the classifier."
        " Empty: none.",
    )
    models: QualityModelParameters = Field(
        default_factory=QualityModelParameters, title="Models", description="How they are trained."
    )


@flow(name="quality_models")
def quality_models(parameters: QualityModelsFlowParameters) -> ArtifactRef:
    """Train n-gram models of Wikipedia and a classifier of the pages it cites.

    The documents are those that ``preparation`` made. What cannot be trained is off, and the
    artifact's notes say why.
    """
    with recorded("quality_models", parameters) as run:
        place = open_workplace()

        def documents(reference: str, source: str) -> ArtifactRef:
            return find_artifact(place, reference, Kind.DOCUMENTS, f"documents.{source}")

        wikipedia = documents(parameters.wikipedia, "wikipedia")
        pages = documents(parameters.pages, "commoncrawl")
        c4 = documents(parameters.c4, "c4") if parameters.c4 else None
        models: ArtifactRef = settled(
            train_quality_models(parameters.models, wikipedia, pages, c4, run)
        )
        return models
