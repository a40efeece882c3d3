"""Language models with their cut-offs, for each language with the text and the pages for it."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.context import StageContext
from tasks.corpus.documents import read_documents
from tasks.corpus.quality.kenlm import find_programs, missing
from tasks.corpus.quality.ngrams import document_hash, measure_text, train_language
from tasks.corpus.quality.normalise import normalised_segments
from tasks.corpus.quality.parameters import QualityModelParameters
from tasks.corpus.quality.part import Part
from tasks.corpus.quality.perplexity import FOLDER, Cutoffs, LanguageModel, cutoffs_of

DECILES = range(10, 100, 10)


def train_language_models(
    wikipedia: Sequence[Path],
    pages: Sequence[Path],
    parameters: QualityModelParameters,
    context: StageContext,
) -> tuple[Part, dict[str, Cutoffs]]:
    """One model per language of the crawl pages that has the text and the pages for it."""
    part = Part()
    if parameters.perplexity == "off":
        part.off = "by the parameters"
        return part, {}
    programs = find_programs()
    if programs is None or missing(programs):
        part.off = missing(programs)
        return part, {}
    wanted = {row["language"] for path in pages for row in read_documents(path, ["language"])}
    texts = measure_text(wikipedia, wanted, parameters.seed)
    cutoffs: dict[str, Cutoffs] = {}
    scratch = context.work / "ngrams"
    for number, (language, text) in enumerate(texts.items()):
        row: dict[str, Any] = {"documents": text.documents, "bytes": text.bytes}
        part.report[language] = row
        if text.bytes < parameters.minimum_bytes:
            row["off"] = f"{text.bytes} bytes of Wikipedia, {parameters.minimum_bytes} are wanted"
            continue
        chosen = _lowest_hashes(pages, language, parameters.cutoff_pages, parameters.seed)
        if len(chosen) < parameters.cutoff_minimum:
            row["off"] = f"{len(chosen)} crawl pages, {parameters.cutoff_minimum} are wanted"
            continue
        context.progress(0.7 * number / len(texts), f"n-grams of {language}")
        out = context.out / FOLDER / language
        log = context.logs / f"kenlm-{language}.txt"
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            row |= train_language(
                wikipedia, language, text, parameters, programs, out, scratch, log
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if row["vocabulary"] < parameters.vocabulary:
            part.notes.append(
                f"quality: the text of {language} allows {row['vocabulary']} pieces, not"
                f" {parameters.vocabulary}."
            )
        model = LanguageModel(out)
        perplexity_N = np.array([
            model.perplexity(normalised_segments(text))
            for text in _texts(pages, language, chosen)
        ])  # fmt: skip
        cutoffs[language] = cutoffs_of(
            perplexity_N, parameters.head_percentile, parameters.middle_percentile
        )
        deciles = np.percentile(perplexity_N, list(DECILES))
        row["deciles"] = [round(float(value), 1) for value in deciles]
    off = [f"{name}: {row['off']}" for name, row in part.report.items() if "off" in row]
    if not cutoffs:
        part.off = "no language has the text and the pages (" + ("; ".join(off) or "none") + ")"
    else:
        part.notes += [f"quality: no perplexity for {text}." for text in off]
    return part, cutoffs


def _lowest_hashes(files: Sequence[Path], language: str, most: int, seed: int) -> set[str]:
    """Ids of the language's pages with the lowest hashes, at most ``most``."""
    ids = (
        (document_hash(seed, row["id"]), row["id"])
        for path in files
        for row in read_documents(path, ["id", "language"])
        if row["language"] == language
    )
    return {identity for _, identity in heapq.nsmallest(most, ids)}


def _texts(files: Sequence[Path], language: str, chosen: set[str]) -> Iterator[str]:
    for path in files:
        for row in read_documents(path, ["id", "language", "text"]):
            if row["language"] == language and row["id"] in chosen:
                yield row["text"]
