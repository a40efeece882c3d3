"""Raw dumps of the seven sources to one corpus with its Table 1 mixture."""

from __future__ import annotations

import json

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from flows.data import DataFolder, take_data
from flows.session import recorded
from registry.artifacts import ArtifactRef
from tasks.corpus.mixture import SOURCES
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.quality.parameters import QualityModelParameters, QualityParameters
from tasks.corpus.quality.stage import filter_pages, train_quality_models
from tasks.corpus.stage import assemble_corpus, fingerprint_source, prepare_source
from tasks.evaluation.parameters import EvaluationParameters
from tasks.evaluation.stage import fingerprint_bench
from tasks.projected_tables import funnel_row
from tasks.runner import RunContext, open_workplace, settled


class PreparationParameters(BaseModel):
    """The form of the ``preparation`` deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Preparation")

    data: str | None = Field(
        None,
        title="Data folder",
        description="Folder with corpus/, bench/ and instruct/. Empty: ARRIERO_DATA, else a"
        " sample made from the installed Python packages.",
    )
    corpus: CorpusParameters = Field(
        default_factory=CorpusParameters, title="Corpus", description="Rules of the seven sources."
    )
    quality_models: QualityModelParameters = Field(
        default_factory=QualityModelParameters,
        title="Quality models",
        description="What judges CommonCrawl's pages, trained on Wikipedia and the crawl.",
    )
    quality: QualityParameters = Field(
        default_factory=QualityParameters,
        title="Quality",
        description="Which of CommonCrawl's pages stay.",
    )


@flow(name="preparation")
def preparation(parameters: PreparationParameters) -> ArtifactRef:
    """Read every source, filter, deduplicate across sources, split, mix.

    A source whose dumps and rules did not change is not read again. CommonCrawl's pages are judged
    by models of the Wikipedia read here.
    """
    with recorded("preparation", parameters) as run:
        url = parameters.corpus.raw_url
        if url:
            data = DataFolder(root=url, sample=False)
        else:
            data = take_data(open_workplace(), run, parameters.data)
        documents: dict[str, ArtifactRef] = {}
        for source in SOURCES:
            raw = settled(
                fingerprint_source(source, parameters.corpus, data.root, data.sample, run)
            )
            if raw is not None:
                documents[source] = settled(
                    prepare_source(source, parameters.corpus, raw, data.root, run)
                )
        if "commoncrawl" in documents and "wikipedia" in documents:
            documents["commoncrawl"] = _judged(parameters, documents, run)
        if url and parameters.data:  # the benchmarks lie in a folder, wherever the dumps are
            data = take_data(open_workplace(), run, parameters.data, any_of=("bench",))
        bench = _benchmarks(parameters.corpus, data, run)
        corpus: ArtifactRef = settled(
            assemble_corpus(parameters.corpus, documents, run, bench, data.root)
        )
        _show_funnel(corpus)
        return corpus


def _benchmarks(
    parameters: CorpusParameters, data: DataFolder, run: RunContext
) -> ArtifactRef | None:
    """Listing of the benchmarks' files that documents are compared with; None without any."""
    if parameters.decontamination == "off":
        return None
    if not (data.path / "bench").is_dir():
        if parameters.decontamination == "remove":
            raise ValueError(
                "decontamination is `remove`, and there is no bench/ to compare documents with:"
                " name a data folder with it, or set decontamination to `flag` or `off`"
            )
        return None
    wanted = EvaluationParameters(benchmarks=parameters.decontamination_benchmarks)
    bench: ArtifactRef = settled(fingerprint_bench(wanted, data.root, data.sample, run))
    return bench


def _show_funnel(corpus: ArtifactRef) -> None:
    """What every rule let through, on the flow run's page."""
    path = open_workplace().store.path(corpus) / "funnel.json"
    rows = [funnel_row(row) for row in json.loads(path.read_text("utf-8"))]
    create_table_artifact(rows, key="funnel", description=f"Funnel of corpus {corpus.digest[:12]}")


def _judged(
    parameters: PreparationParameters, documents: dict[str, ArtifactRef], run: RunContext
) -> ArtifactRef:
    """CommonCrawl's pages that the quality models let through."""
    models = settled(
        train_quality_models(
            parameters.quality_models,
            documents["wikipedia"],
            documents["commoncrawl"],
            documents.get("c4"),
            run,
        )
    )
    judged: ArtifactRef = settled(
        filter_pages(
            parameters.quality,
            documents["commoncrawl"],
            models,
            run,
            parameters.corpus,
        )
    )
    return judged
