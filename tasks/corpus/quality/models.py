"""Trains the quality models: language models with their cut-offs, the reference classifier.

An artifact of them holds ``models.json`` (what is on, and why not), ``cutoffs.json``,
``perplexity/<language>/``, ``reference/`` and ``report.json``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus.documents import document_files
from tasks.corpus.quality import classifier, perplexity
from tasks.corpus.quality.classifier import ReferenceClassifier
from tasks.corpus.quality.language_models import train_language_models, why_off
from tasks.corpus.quality.parameters import QualityModelParameters, Wanted
from tasks.corpus.quality.part import Part
from tasks.corpus.quality.perplexity import Cutoffs, LanguageModel
from tasks.corpus.quality.reference_model import train_reference_classifier

MODELS = "models.json"
CUTOFFS = "cutoffs.json"
REPORT = "report.json"


def build_models(
    inputs: Mapping[str, Path], parameters: QualityModelParameters, context: StageContext
) -> StageResult:
    """Train what the inputs and this machine allow; what is off is said in notes and report.

    Args:
        inputs: folders of documents artifacts: ``wikipedia`` (with ``references`` in the meta of
            its documents), ``pages`` (CommonCrawl before this filter) and, where there is one,
            ``c4``: more crawl pages for the classifier.

    Raises:
        ValueError: a model is "on" and cannot be trained; says what is missing. Or an input holds
            no documents.
    """
    wikipedia = files_of(inputs, "wikipedia")
    pages = files_of(inputs, "pages")
    pools = {"pages": pages}
    if "c4" in inputs:
        pools["c4"] = files_of(inputs, "c4")
    # What takes hours comes last, when nothing is missing that must be there.
    _refuse("perplexity", why_off(parameters), parameters.perplexity)
    context.progress(0.0, "harvesting references")
    reference = train_reference_classifier(wikipedia, pools, parameters, context)
    _say_when_off("reference", reference, parameters.reference)
    judged, cutoffs = train_language_models(wikipedia, pages, parameters, context)
    _say_when_off("perplexity", judged, parameters.perplexity)
    state = {"perplexity": {"off": judged.off}, "reference": {"off": reference.off}}
    atomic_write_json(context.out / MODELS, state)
    atomic_write_json(context.out / CUTOFFS, {k: asdict(v) for k, v in cutoffs.items()})
    report = {"perplexity": judged.report, "reference": reference.report}
    atomic_write_json(context.out / REPORT, report)
    shutil.rmtree(context.work / perplexity.FOLDER, ignore_errors=True)
    return StageResult(
        counts={
            "languages": sorted(cutoffs),
            "cited_pages": reference.report.get("trained", {}).get("cited", 0),
        },
        seeds={"quality": parameters.seed},
        notes=[*judged.notes, *reference.notes],
    )


def _refuse(name: str, off: str, wanted: Wanted) -> None:
    if off and wanted == "on":
        raise ValueError(f"{name} is on and cannot be trained: {off}")


def _say_when_off(name: str, part: Part, wanted: Wanted) -> None:
    _refuse(name, part.off, wanted)
    if part.off:
        part.notes.append(f"quality: the {name} filter is off: {part.off}.")


def files_of(inputs: Mapping[str, Path], name: str) -> list[Path]:
    """The Parquet files of an input; ``ValueError`` when there is none."""
    found = document_files(inputs[name])
    if not found:
        raise ValueError(f"the input {name!r} at {inputs[name]} holds no documents")
    return found


@dataclass(frozen=True)
class QualityModels:
    """The models of an artifact, ready to score. off: why a part has none, "" when it has."""

    languages: Mapping[str, LanguageModel]
    cutoffs: Mapping[str, Cutoffs]
    classifier: ReferenceClassifier | None
    perplexity_off: str
    reference_off: str


def load_models(folder: Path) -> QualityModels:
    """What `build_models` wrote into ``folder``.

    Raises:
        ValueError: the folder holds no quality models, or they need kenlm, which is not installed.
    """
    path = folder / MODELS
    if not path.is_file():
        raise ValueError(f"{folder} holds no {MODELS}: it is no artifact of quality models")
    state = json.loads(path.read_text("utf-8"))
    rows = json.loads((folder / CUTOFFS).read_text("utf-8"))
    cutoffs = {language: Cutoffs(**row) for language, row in rows.items()}
    off = state["reference"]["off"]
    return QualityModels(
        languages={name: LanguageModel(folder / perplexity.FOLDER / name) for name in cutoffs},
        cutoffs=cutoffs,
        classifier=None if off else ReferenceClassifier.load(folder / classifier.FOLDER),
        perplexity_off=state["perplexity"]["off"],
        reference_off=off,
    )
