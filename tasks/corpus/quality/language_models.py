"""Language models with their cut-offs, for each language with the text and the pages for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.context import StageContext
from tasks.corpus.documents import read_chosen, read_documents
from tasks.corpus.done import put_file
from tasks.corpus.quality.kenlm import Kenlm, find_programs, missing
from tasks.corpus.quality.ngrams import (
    LanguageText,
    measure_text,
    train_language,
)
from tasks.corpus.quality.normalise import normalised_segments
from tasks.corpus.quality.parameters import QualityModelParameters
from tasks.corpus.quality.part import Part
from tasks.corpus.quality.perplexity import (
    FOLDER,
    NGRAMS,
    PIECES,
    Cutoffs,
    LanguageModel,
    cutoffs_of,
)
from tasks.corpus.quality.sampling import document_hash, hold_lowest
from tasks.corpus.steps import once

DECILES = range(10, 100, 10)


def why_off(parameters: QualityModelParameters) -> str:
    """Why no language model can be trained here, whatever the text; "" when some can."""
    return "by the parameters" if parameters.perplexity == "off" else missing(find_programs())


def train_language_models(
    wikipedia: Sequence[Path],
    pages: Sequence[Path],
    parameters: QualityModelParameters,
    context: StageContext,
) -> tuple[Part, dict[str, Cutoffs]]:
    """One model per language of the crawl pages that has the text and the pages for it."""
    part = Part(off=why_off(parameters))
    programs = find_programs()
    if part.off or programs is None:
        return part, {}
    chosen = lowest_hashes(pages, parameters.cutoff_pages, parameters.seed)
    texts = measure_text(wikipedia, set(chosen), parameters.seed)
    models: dict[str, LanguageModel] = {}
    for number, (language, text) in enumerate(texts.items()):
        row: dict[str, Any] = {"documents": text.documents, "bytes": text.bytes}
        part.report[language] = row
        if text.bytes < parameters.minimum_bytes:
            row["off"] = f"{text.bytes} bytes of Wikipedia, {parameters.minimum_bytes} are wanted"
            continue
        found = len(chosen[language])
        if found < parameters.cutoff_minimum:
            row["off"] = f"{found} crawl pages, {parameters.cutoff_minimum} are wanted"
            continue
        context.progress(0.2 + 0.8 * number / len(texts), f"n-grams of {language}")
        row |= _trained(wikipedia, language, text, parameters, programs, context)
        if row["vocabulary"] < parameters.vocabulary:
            part.notes.append(
                f"quality: the text of {language} allows {row['vocabulary']} pieces, not"
                f" {parameters.vocabulary}."
            )
        models[language] = LanguageModel(context.out / FOLDER / language)
    cutoffs: dict[str, Cutoffs] = {}
    for language, perplexity_N in _perplexities(pages, chosen, models).items():
        cutoffs[language] = cutoffs_of(
            perplexity_N, parameters.head_percentile, parameters.middle_percentile
        )
        deciles = np.percentile(perplexity_N, list(DECILES))
        part.report[language]["deciles"] = [round(float(value), 1) for value in deciles]
    off = [f"{name}: {row['off']}" for name, row in part.report.items() if "off" in row]
    if not cutoffs:
        part.off = "no language has the text and the pages (" + ("; ".join(off) or "none") + ")"
    else:
        part.notes += [f"quality: no perplexity for {text}." for text in off]
    return part, cutoffs


def _trained(
    wikipedia: Sequence[Path],
    language: str,
    text: LanguageText,
    parameters: QualityModelParameters,
    programs: Kenlm,
    context: StageContext,
) -> dict[str, Any]:
    """The model of one language to ``context.out``; its counts.

    It is made once, in the work folder: an attempt goes on with the languages that are there.
    """
    scratch = context.work / "ngrams"
    log = context.logs / f"kenlm-{language}.txt"

    def make(out: Path) -> dict[str, Any]:
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            return dict(
                train_language(wikipedia, language, text, parameters, programs, out, scratch, log)
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    made = context.work / FOLDER / language
    counts = once(made, make)
    for name in (PIECES, NGRAMS):
        put_file(made / name, context.out / FOLDER / language / name)
    return counts


def lowest_hashes(files: Sequence[Path], most: int, seed: int) -> dict[str, set[str]]:
    """By language: ids of the pages with the lowest hashes, at most ``most``; in one pass."""
    heaps: dict[str, list[tuple[int, str]]] = {}
    for path in files:
        for row in read_documents(path, ["id", "language"]):
            heap = heaps.setdefault(row["language"], [])
            hold_lowest(heap, (-document_hash(seed, row["id"]), row["id"]), most)
    return {language: {identity for _, identity in heap} for language, heap in heaps.items()}


def _perplexities(
    files: Sequence[Path],
    chosen: Mapping[str, Set[str]],
    models: Mapping[str, LanguageModel],
) -> dict[str, NDArray[np.float64]]:
    """By language: the perplexity of each chosen page, in one pass."""
    found: dict[str, list[float]] = {language: [] for language in models}

    def judged(row: dict[str, str]) -> bool:
        return row["language"] in models and row["id"] in chosen[row["language"]]

    for path in files if models else ():
        for row in read_chosen(path, ["language", "text"], ["id", "language"], judged):
            language = row["language"]
            perplexity = models[language].perplexity(normalised_segments(row["text"]))
            found[language].append(perplexity)
    return {language: np.array(values) for language, values in found.items()}
