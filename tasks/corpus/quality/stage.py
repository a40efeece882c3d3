"""The tasks of this package: train the quality models, filter web pages by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from registry.artifacts import ArtifactRef, Kind
from tasks.context import StageContext, StageResult
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.quality.parameters import QualityModelParameters, QualityParameters
from tasks.corpus.stage import python_version
from tasks.runner import RunContext, Stage, run_stage

_NUMBERS = ("sentencepiece", "scikit-learn", "scipy", "numpy")
QUALITY_MODELS = Stage(
    name="quality_models", version=2, kind=Kind.QUALITY, libraries=(*_NUMBERS, "pyarrow")
)
QUALITY = Stage(
    name="quality.commoncrawl", version=2, kind=Kind.DOCUMENTS, libraries=(*_NUMBERS, "pyarrow")
)


@task(
    name="quality-models",
    task_run_name="quality_models",
    cache_policy=NO_CACHE,
    persist_result=True,
)
def train_quality_models(
    parameters: QualityModelParameters,
    wikipedia: ArtifactRef,
    pages: ArtifactRef,
    c4: ArtifactRef | None,
    run: RunContext,
) -> Any:
    """Language models of Wikipedia, a classifier of cited pages; returns their ``ArtifactRef``.

    Args:
        wikipedia, pages, c4: documents artifacts; ``pages`` is CommonCrawl before this filter.
    """
    from tasks.corpus.quality.kenlm import find_programs, installed_module
    from tasks.corpus.quality.models import build_models

    inputs = {"wikipedia": wikipedia, "pages": pages} | ({"c4": c4} if c4 is not None else {})
    # Models without perplexity, for want of KenLM, are not those that a machine with it makes.
    kenlm: dict[str, Any] = {}
    if parameters.perplexity != "off":
        kenlm = {"kenlm": installed_module(), "lmplz": find_programs() is not None}
    return run_stage(
        QUALITY_MODELS,
        parameters,
        inputs,
        run,
        lambda inputs, context: build_models(inputs, parameters, context),
        extra_recipe=kenlm | python_version(),
    )


@task(
    name="quality",
    task_run_name="quality.commoncrawl",
    cache_policy=NO_CACHE,
    persist_result=True,
)
def filter_pages(
    parameters: QualityParameters,
    pages: ArtifactRef,
    models: ArtifactRef,
    run: RunContext,
    corpus: CorpusParameters | None = None,
) -> Any:
    """The pages that perplexity and classifier let through; returns their ``ArtifactRef``.

    Args:
        corpus: says where shards are worked on, and how long; the result does not depend on it.
    """
    from tasks.corpus.executors import choose_executor
    from tasks.corpus.quality.filter import filter_documents
    from tasks.corpus.quality.kenlm import installed_module

    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        executor = choose_executor(corpus or CorpusParameters(workers=1), context)
        return filter_documents(inputs, parameters, context, executor)

    return run_stage(
        QUALITY,
        parameters,
        {"pages": pages, "models": models},
        run,
        build,
        extra_recipe={"kenlm": installed_module()} | python_version(),
    )
