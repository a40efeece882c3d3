"""The tasks of this package: fingerprint the instruction files, pack them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from registry.artifacts import ArtifactRef, Kind
from registry.files import portable_name
from tasks.context import StageContext, StageResult, atomic_write_text
from tasks.runner import RunContext, Stage, run_stage
from tasks.training.instructions.parameters import FingerprintParameters, InstructionParameters

FINGERPRINT = Stage(name="instructions.raw", version=1, kind=Kind.RAW)
INSTRUCTIONS = Stage(
    name="instructions", version=2, kind=Kind.INSTRUCTIONS, libraries=("sentencepiece", "numpy")
)


def list_files(root: Path, folder: str) -> list[dict[str, Any]]:
    """``{"path", "size", "sha256"}`` of every file of ``root/folder``, sorted by path.

    Hidden files and links that lead out of the folder are left out.
    Errors: ``ValueError`` when the folder is missing or empty.
    """
    base = root / folder
    if not base.is_dir():
        raise ValueError(f"no folder {base}: instruction data is expected in {folder}/<data set>/")
    inside = base.resolve()
    rows = []
    for path in sorted(base.rglob("*")):
        relative = path.relative_to(base)
        if not path.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        if not path.resolve().is_relative_to(inside):
            continue
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        rows.append(
            {"path": f"{folder}/{portable_name(relative.as_posix())}", "size": path.stat().st_size}
            | {"sha256": digest}
        )
    if not rows:
        raise ValueError(f"{base} holds no files: put instruction data into {folder}/<data set>/")
    return sorted(rows, key=lambda row: str(row["path"]))


@task(
    name="instructions.raw",
    task_run_name="instructions.raw",
    cache_policy=NO_CACHE,
    persist_result=True,
)
def fingerprint_instructions(root: str, sample: bool, run: RunContext) -> Any:
    """List and hash the instruction files of a data folder; returns the raw ``ArtifactRef``."""
    parameters = FingerprintParameters()
    rows = list_files(Path(root), parameters.folder)
    listing = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)

    def write(_: dict[str, Path], context: StageContext) -> StageResult:
        atomic_write_text(context.out / "files.jsonl", listing)
        size = sum(row["size"] for row in rows)
        return StageResult(counts={"files": len(rows), "bytes": size})

    digest = hashlib.sha256(listing.encode()).hexdigest()
    return run_stage(
        FINGERPRINT,
        parameters,
        {},
        run,
        write,
        sample=sample,
        extra_recipe={"listing": digest, "sample": sample},
    )


@task(name="instructions", task_run_name="instructions", cache_policy=NO_CACHE, persist_result=True)
def prepare_instructions(
    parameters: InstructionParameters,
    raw: ArtifactRef,
    tokenizer: ArtifactRef,
    root: str,
    run: RunContext,
) -> Any:
    """Packed instruction rows; returns their ``ArtifactRef``.

    raw: artifact of :func:`fingerprint_instructions`; each file is checked against it.
    """
    from tasks.training.instructions.build import build_instructions

    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        lines = (inputs["raw"] / "files.jsonl").read_text(encoding="utf-8").splitlines()
        digests = {row["path"]: row["sha256"] for row in map(json.loads, lines)}
        return build_instructions(
            parameters, Path(root), digests, inputs["tokenizer"], context, digests
        )

    return run_stage(
        INSTRUCTIONS,
        parameters,
        {"raw": raw, "tokenizer": tokenizer},
        run,
        build,
        raw_root=Path(root),
    )
