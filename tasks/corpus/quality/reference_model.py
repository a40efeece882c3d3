"""Trains the reference classifier on the crawl pages that Wikipedia cites, and measures it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.context import StageContext
from tasks.corpus.quality import classifier, references
from tasks.corpus.quality.classifier import FOLDER, Features, ReferenceClassifier
from tasks.corpus.quality.parameters import QualityModelParameters
from tasks.corpus.quality.part import Part


def train_reference_classifier(
    wikipedia: Sequence[Path],
    pools: Mapping[str, Sequence[Path]],
    parameters: QualityModelParameters,
    context: StageContext,
) -> Part:
    part = Part()
    if parameters.reference == "off":
        part.off = "by the parameters"
        return part
    known = references.harvest(wikipedia)
    surveyed = {
        name: references.survey_pool(
            files,
            known,
            match=parameters.reference_match,
            most=parameters.reference_pages,
            seed=parameters.seed,
        )
        for name, files in pools.items()
    }
    part.report = {
        "match": parameters.reference_match,
        "citations": known.cited,
        "cited_addresses": len(known.url_R),
        "cited_hosts": len(known.host_H),
        "pools": {
            name: {
                "pages": pool.pages,
                "url_matches": pool.url_matches,
                "host_matches": pool.host_matches,
            }
            for name, pool in surveyed.items()
        },
    }
    examples = references.draw_examples(surveyed, parameters.reference_pages)
    cited = sum(example.cited for example in examples)
    if cited < parameters.reference_minimum:
        part.off = (
            f"{cited} of {sum(pool.pages for pool in surveyed.values())} crawl pages can be"
            f" examples of cited ones (by {parameters.reference_match}, each against another page"
            f" of its pool), {parameters.reference_minimum} are wanted"
        )
        return part
    context.progress(0.1, f"classifier of {cited} cited pages")
    _train_classifier(examples, pools, parameters, context, part)
    if parameters.reference_match == "host":
        part.notes.append(
            "quality: pages whose host is cited were taken for cited pages (reference_match)."
        )
    return part


def _train_classifier(
    examples: Sequence[references.Example],
    pools: Mapping[str, Sequence[Path]],
    parameters: QualityModelParameters,
    context: StageContext,
    part: Part,
) -> None:
    """Write ``reference/``; figures and notes go to ``part``."""
    features = Features(parameters.reference_bits, parameters.reference_characters)
    scratch = context.work / "features"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        file = classifier.FeatureFile(scratch, features)
        wanted = {example.id: number for number, example in enumerate(examples)}
        texts = references.texts_of([path for files in pools.values() for path in files], wanted)
        number_N = file.write((number, features.start(text)) for number, text in texts)
        cited_N = np.array([examples[number].cited for number in number_N], dtype=np.bool_)
        held_N = references.hold_out(examples, parameters.reference_held_out, parameters.seed)
        held_N = held_N[number_N]
        parted = all(len(np.unique(cited_N[mask])) == 2 for mask in (held_N, ~held_N))
        if not parted:
            held_N = np.zeros(len(cited_N), dtype=np.bool_)
            part.notes.append(
                "quality: too few sites to hold some out; the classifier was not measured."
            )
        trained = classifier.train(
            file,
            np.flatnonzero(~held_N),
            cited_N[~held_N],
            features,
            epochs=parameters.reference_epochs,
            penalty=parameters.reference_penalty,
            seed=parameters.seed,
        )
        part.report["trained"] = {
            "cited": int(cited_N[~held_N].sum()),
            "others": int((~cited_N[~held_N]).sum()),
        }
        if parted:
            score_N = _scores(trained, file, np.flatnonzero(held_N))
            part.report["held_out"] = classifier.held_out_figures(score_N, cited_N[held_N])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    trained.save(context.out / FOLDER, {"match": parameters.reference_match})


def _scores(
    model: ReferenceClassifier, file: classifier.FeatureFile, row_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    batches = [row_N[i : i + classifier.BATCH] for i in range(0, len(row_N), classifier.BATCH)]
    return np.concatenate([model.score_rows(file.rows(batch)) for batch in batches])
