"""Removes web pages by perplexity, then by the reference classifier; writes the scores of the rest.

A job over one shard: any process, any order, done once. What a part's models could not be trained
for passes it unjudged, under a name that says so: "perplexity (off)".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus.chain import check_chain
from tasks.corpus.documents import REJECTED_SCHEMA, ParquetFile, document_files, read_documents
from tasks.corpus.done import put_file
from tasks.corpus.execute import Executor, InlineExecutor, Job
from tasks.corpus.executors import tell_given_up
from tasks.corpus.funnel import Funnel
from tasks.corpus.guard import Guard
from tasks.corpus.quality.models import QualityModels, load_models
from tasks.corpus.quality.normalise import normalised_segments
from tasks.corpus.quality.parameters import QualityParameters
from tasks.corpus.steps import once, write_rejected

PERPLEXITY = "perplexity"
REFERENCE = "reference"
OFF = " (off)"
BATCH = 128
# A batch ends earlier at this many characters: a worker holds one, beside a row group.
BATCH_CHARACTERS = 16_000_000
DOCUMENTS = "documents.parquet"
REJECTED = "rejected.parquet"
Row = dict[str, Any]
Shard = tuple[str, Path, Mapping[str, Any]]


def filter_documents(
    inputs: Mapping[str, Path],
    parameters: QualityParameters,
    context: StageContext,
    executor: Executor | None = None,
) -> StageResult:
    """Filter a documents artifact into ``context.out``: the same files, fewer documents.

    Args:
        inputs: ``pages``: artifact folder of documents; ``models``: of `build_models`.
        executor: where shards are filtered; by default this process.

    Raises:
        ValueError: an input is not what it must be, or the models need kenlm and it is missing.
    """
    pages = inputs["pages"]
    models = load_models(inputs["models"])
    names = [path.name for path in document_files(pages)]
    folders = [context.work / "filtered" / Path(name).stem for name in names]
    skips = context.work / "skips"
    skips.mkdir(exist_ok=True)

    def jobs() -> Iterator[Job]:
        for name, folder in zip(names, folders, strict=True):
            arguments = {
                "pages": str(pages),
                "name": name,
                "models": str(inputs["models"]),
                "parameters": parameters.model_dump(mode="json"),
                "folder": str(folder),
            }
            yield Job(f"{__name__}:filter_shard", arguments, skips / f"{folder.name}.json")

    def shards() -> Iterator[Shard]:
        results = (executor or InlineExecutor()).run(jobs())
        for done, (name, folder, said) in enumerate(zip(names, folders, results, strict=True), 1):
            context.progress(done / len(names), f"quality: {done} of {len(names)} shards")
            yield name, folder, said

    result = write_filtered(pages, models, shards(), context)
    files = [skips / f"{folder.name}.json" for folder in folders]
    return replace(result, notes=[*result.notes, *tell_given_up(files, context)])


def filter_shard(
    guard: Guard,
    *,
    pages: str,
    name: str,
    models: str,
    parameters: Mapping[str, Any],
    folder: str,
) -> dict[str, Any]:
    """The job of one shard: see `filter_file`; what it says, made once."""
    given = QualityParameters.model_validate(parameters)

    def make(out: Path) -> dict[str, Any]:
        said = filter_file(Path(pages), name, _loaded(models), given, guard, out)
        return said | {"passed": guard.passed}

    return once(Path(folder), make, still=lambda done: done.get("passed") == guard.passed)


@lru_cache(maxsize=1)
def _loaded(folder: str) -> QualityModels:
    """Models of a worker: each of its shards asks the same ones."""
    return load_models(Path(folder))


def filter_file(
    pages: Path,
    name: str,
    models: QualityModels,
    parameters: QualityParameters,
    guard: Guard,
    out: Path,
) -> dict[str, Any]:
    """Filter one file of a documents artifact.

    Writes ``documents.parquet`` and ``rejected.parquet`` (what earlier filters removed, then what
    this one does) into ``out``.

    Args:
        pages: folder of the artifact. name: file in its ``documents``.

    Returns:
        ``documents``, ``characters``, ``bytes``, ``funnel`` (two rows), ``licenses`` of what stays;
        ``unjudged``: pages in languages without a model.
    """
    path = pages / "documents" / name
    first = next(read_documents(path, ["source"]), {"source": ""})
    funnel = Funnel(first["source"], keep_rejected=parameters.keep_rejected)
    perplexity, reference = _filters(models)
    funnel.declare(perplexity, reference)
    licenses: Counter[str] = Counter()
    said = {"documents": 0, "characters": 0, "bytes": 0, "unjudged": 0}
    before = pages / "rejected" / name
    with (
        ParquetFile(out / REJECTED, REJECTED_SCHEMA) as rejected,
        ParquetFile(out / DOCUMENTS) as output,
    ):
        for row in read_documents(before) if before.is_file() else ():
            rejected.write(row)
        for batch in _batches(read_documents(path)):
            passed: list[tuple[Row, Row]] = []
            for row in batch:
                meta = json.loads(row["meta"])
                funnel.place = (str(meta.get("file", "")), int(meta.get("offset", 0)))
                given_up = guard.begin(*funnel.place)
                if given_up is not None:
                    funnel.reject(perplexity, given_up, row["text"], row["id"])
                elif _stays(row, meta, models, parameters, perplexity, funnel):
                    said["unjudged"] += "bucket" not in meta and not models.perplexity_off
                    passed.append((row, meta))
            guard.end()
            for row, meta in _referenced(passed, models, parameters, reference, funnel):
                output.write(row | {"meta": json.dumps(meta, sort_keys=True, ensure_ascii=False)})
                licenses[row["license"] or "unknown"] += 1
                said["characters"] += len(row["text"])
                said["bytes"] += len(row["text"].encode())
            write_rejected(rejected, funnel)
    said["documents"] = output.documents
    rows_of_funnel = [row for row in funnel.rows() if row["filter"] != "read"]
    return {**said, "funnel": rows_of_funnel, "licenses": dict(sorted(licenses.items()))}


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows, ``BATCH`` at a time or ``BATCH_CHARACTERS`` of text."""
    held: list[Row] = []
    characters = 0
    for row in rows:
        held.append(row)
        characters += len(row["text"])
        if len(held) == BATCH or characters >= BATCH_CHARACTERS:
            yield held
            held, characters = [], 0
    if held:
        yield held


def write_filtered(
    pages: Path, models: QualityModels, shards: Iterable[Shard], context: StageContext
) -> StageResult:
    """The artifact of filtered shards: name, folder and what `filter_file` said, in their order.

    Extends the input's ``funnel.json`` and ``funnel_shards.json``, counts licences anew and carries
    ``bad_files.json`` and the rejects of shards without documents. A shard of which no document
    stays has no file of documents.
    """
    funnel_rows = _json(pages / "funnel.json")
    funnel = Funnel(funnel_rows[0]["source"])
    funnel.declare(*_filters(models))
    by_name: dict[str, list[Row]] = {}
    licenses: Counter[str] = Counter()
    total: Counter[str] = Counter(documents=0, characters=0, bytes=0, unjudged=0)
    for name, folder, said in shards:
        by_name[name] = said["funnel"]
        funnel.merge(Funnel.from_rows(funnel.source, said["funnel"]))
        licenses.update(said["licenses"])
        total.update({unit: said[unit] for unit in total})
        if said["documents"]:
            put_file(folder / DOCUMENTS, context.out / "documents" / name)
        put_file(folder / REJECTED, context.out / "rejected" / name)
    written = {unit: total[unit] for unit in ("documents", "characters", "bytes")}
    rows = funnel_rows + [row for row in funnel.rows() if row["filter"] != "read"]
    check_chain(rows, written)
    atomic_write_json(context.out / "funnel.json", rows)
    shard_rows = _json(pages / "funnel_shards.json")
    atomic_write_json(context.out / "funnel_shards.json", _extended(shard_rows, by_name))
    for path in sorted((pages / "rejected").glob("*.parquet")):
        if path.name not in by_name:
            with ParquetFile(context.out / "rejected" / path.name, REJECTED_SCHEMA) as carried:
                for row in read_documents(path):
                    carried.write(row)
    bad_files = _json(pages / "bad_files.json")
    atomic_write_json(context.out / "bad_files.json", bad_files)
    atomic_write_json(context.out / "licenses.json", dict(sorted(licenses.items())))
    return StageResult(counts={**total, "bad_files": len(bad_files)}, notes=_notes(models, total))


def _filters(models: QualityModels) -> tuple[str, str]:
    """Names of the two filters; one that is off says so."""
    return (
        PERPLEXITY + (OFF if models.perplexity_off else ""),
        REFERENCE + (OFF if models.reference_off else ""),
    )


def _notes(models: QualityModels, total: Mapping[str, int]) -> list[str]:
    parts = ((PERPLEXITY, models.perplexity_off), (REFERENCE, models.reference_off))
    notes = [f"quality: the {name} filter is off: {why}." for name, why in parts if why]
    if total["unjudged"]:
        notes.append(
            f"quality: {total['unjudged']} pages in languages without a model were not judged by"
            " perplexity."
        )
    if not total["documents"]:
        notes.append("quality: no page was left.")
    return notes


def _stays(
    row: Row,
    meta: Row,
    models: QualityModels,
    parameters: QualityParameters,
    name: str,
    funnel: Funnel,
) -> bool:
    """Whether a page's bucket is kept; writes ``perplexity`` and ``bucket`` to its meta."""
    language, text = row["language"], row["text"]
    model = models.languages.get(language)
    if model is not None:
        meta["perplexity"] = model.perplexity(normalised_segments(text))
        meta["bucket"] = models.cutoffs[language].bucket(meta["perplexity"])
        if meta["bucket"] not in parameters.perplexity_keep:
            funnel.reject(name, f"bucket {meta['bucket']}", text, row["id"])
            return False
    funnel.keep(name, text)
    return True


def _referenced(
    passed: list[tuple[Row, Row]],
    models: QualityModels,
    parameters: QualityParameters,
    name: str,
    funnel: Funnel,
) -> Iterator[tuple[Row, Row]]:
    """The pages with the score they need; writes ``reference_score`` to their meta."""
    if models.classifier is not None and passed:
        features = models.classifier.features
        score_N = models.classifier.score([features.start(row["text"]) for row, _ in passed])
        for (_, meta), score in zip(passed, score_N, strict=True):
            meta["reference_score"] = float(score)
    for row, meta in passed:
        funnel.place = (str(meta.get("file", "")), int(meta.get("offset", 0)))
        score = meta.get("reference_score")
        if score is not None and score < parameters.reference_threshold:
            funnel.reject(name, "score under the threshold", row["text"], row["id"])
        else:
            funnel.keep(name, row["text"])
            yield row, meta


def _extended(rows: list[Row], by_name: Mapping[str, list[Row]]) -> list[Row]:
    """Rows of ``funnel_shards.json``: after each shard's own, those of this filter."""
    before: dict[int, list[Row]] = {}
    for row in rows:
        before.setdefault(row["shard"], []).append(row)
    return [
        row
        for shard, held in before.items()
        for row in (
            *held,
            *({"shard": shard, **row} for row in by_name.get(f"{shard:05d}.parquet", [])),
        )
    ]


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
