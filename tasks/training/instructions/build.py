"""Instruction files to packed rows: read, deduplicate, cap, split, encode, pack.

Duplicates are removed before the cap is applied, so a cap of n gives n different examples wherever
the file has as many.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from registry.files import native_name
from tasks.context import StageContext, StageResult, atomic_write_json, atomic_write_text
from tasks.corpus.execute import Executor, InlineExecutor, Job, LocalExecutor
from tasks.corpus.guard import Guard
from tasks.training.instructions.formats import read_file
from tasks.training.instructions.packing import Encoded, Packed, pack
from tasks.training.instructions.parameters import InstructionParameters
from tasks.training.instructions.records import Example
from tasks.training.instructions.template import encode, render

_CHUNK = 1000


class InstructionDataError(ValueError):
    """The instruction files changed, or hold nothing that can be trained on."""


@dataclass(frozen=True)
class Task:
    """One example, rendered. key: 16 bytes that order it, the same in every process."""

    file: str
    example: Example
    prompt: str
    target: str
    key: bytes
    validation: bool


@dataclass
class FileCounts:
    """What became of one file: examples = duplicates + over_cap + too_long + train +
    validation."""

    format: str = ""
    family: str = ""
    records: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: int = 0
    duplicates: int = 0
    over_cap: int = 0
    too_long: int = 0
    train: int = 0
    validation: int = 0


def _hash(seed: int, *parts: str) -> bytes:
    return hashlib.blake2b("\0".join((str(seed), *parts)).encode(), digest_size=16).digest()


def in_validation(seed: int, prompt: str, fraction: float) -> bool:
    """Whether a prompt is held out: its hash falls under ``fraction``."""
    draw = int.from_bytes(_hash(seed, "validation", prompt)[:8], "big") / 2**64
    return draw < fraction


def collect(
    parameters: InstructionParameters,
    root: Path,
    files: Iterable[str],
    digests: Mapping[str, str] | None = None,
) -> tuple[list[Task], dict[str, FileCounts], dict[str, str]]:
    """(examples that stay, counts by file, reason by file that gave none), files sorted by name.

    An example is a duplicate when one before it in its file, or one that an earlier file gave, has
    the same prompt and target. What an earlier file's cap left out does not count.
    Errors: ``InstructionDataError`` when a file's sha256 is not the one in ``digests``.
    """
    tasks: list[Task] = []
    counts: dict[str, FileCounts] = {}
    unread: dict[str, str] = {}
    given: set[bytes] = set()
    for name in sorted(set(files)):
        path = root / native_name(name)
        if digests is not None:
            _check_digest(name, path, digests)
        content = read_file(path, parameters.languages)
        if not content.examples:
            unread[name] = content.reason
            continue
        count = FileCounts(
            format=content.format,
            family=content.family,
            records=content.records,
            rejected=content.rejected,
            examples=len(content.examples),
        )
        fresh: dict[bytes, Task] = {}
        for example in content.examples:
            prompt, target = render(parameters.template, example)
            key = _hash(parameters.seed, prompt, target)
            if key in given or key in fresh:
                count.duplicates += 1
                continue
            held_out = in_validation(parameters.seed, prompt, parameters.validation_fraction)
            fresh[key] = Task(name, example, prompt, target, key, held_out)
        cap: int = getattr(parameters.caps, content.family)
        kept = [fresh[key] for key in sorted(fresh)[:cap]]
        count.over_cap = len(fresh) - len(kept)
        given.update(task.key for task in kept)
        tasks += kept
        counts[name] = count
    return tasks, counts, unread


def _check_digest(name: str, path: Path, digests: Mapping[str, str]) -> None:
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if digests.get(name) != actual:
        raise InstructionDataError(
            f"{name} is not the file that was fingerprinted (sha256 {actual[:12]}..., expected "
            f"{str(digests.get(name))[:12]}...): it changed during the run, start again"
        )


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Any:
    from model.tokenizer import Tokenizer

    return Tokenizer(path)


def encode_chunk(
    guard: Guard, *, tokenizer: str, pairs: Sequence[tuple[str, str]]
) -> list[tuple[list[int], int]]:
    """Encode (prompt, target) pairs; a job of an executor."""
    words = _tokenizer(Path(tokenizer))
    return [encode(words, prompt, target) for prompt, target in pairs]


def _encoded(tasks: list[Task], model: Path, workers: int) -> Iterator[tuple[list[int], int]]:
    starts = range(0, len(tasks), _CHUNK)

    def jobs() -> Iterator[Job]:
        for start in starts:
            pairs = [(task.prompt, task.target) for task in tasks[start : start + _CHUNK]]
            arguments = {"tokenizer": str(model), "pairs": pairs}
            yield Job(f"{__name__}:encode_chunk", arguments)

    workers = min(workers, len(starts))
    executor: Executor = LocalExecutor(workers) if workers > 1 else InlineExecutor()
    for result in executor.run(jobs()):
        yield from result


def build_instructions(
    parameters: InstructionParameters,
    root: Path,
    files: Iterable[str],
    tokenizer: Path,
    context: StageContext,
    digests: Mapping[str, str] | None = None,
) -> StageResult:
    """Write the arrays of both splits, ``examples.jsonl`` and ``instructions.json``.

    root: data folder. files: POSIX paths relative to it. tokenizer: artifact directory or model
    file. digests: sha256 by file; when given, each file is checked before it is read.
    Errors: ``InstructionDataError`` when nothing is left to train on.
    """
    started = time.monotonic()
    model = tokenizer / "tokenizer.model" if tokenizer.is_dir() else tokenizer
    tasks, counts, unread = collect(parameters, root, files, digests)
    context.progress(0.2, f"{len(tasks)} examples of {len(counts)} files")

    kept: dict[str, list[tuple[Task, Encoded]]] = {"train": [], "validation": []}
    for task, (ids, target_start) in zip(
        tasks, _encoded(tasks, model, parameters.workers), strict=True
    ):
        if len(ids) > parameters.context:
            counts[task.file].too_long += 1
            continue
        split = "validation" if task.validation else "train"
        kept[split].append((task, Encoded(tuple(ids), target_start, task.key)))
        if task.validation:
            counts[task.file].validation += 1
        else:
            counts[task.file].train += 1
    if not kept["train"]:
        raise InstructionDataError(
            f"no instruction example is left to train on: {len(counts)} files gave examples, "
            f"{sum(c.too_long for c in counts.values())} of them longer than "
            f"{parameters.context} tokens; {len(unread)} files gave none ({_first(unread)})"
        )
    context.progress(0.7, "packing")
    lines: list[str] = []
    splits: dict[str, dict[str, int | float]] = {}
    for split, members in kept.items():
        packed = pack([encoded for _, encoded in members], parameters.context)
        _write_arrays(context.out if split == "train" else context.out / "validation", packed)
        lines += _example_lines(split, members, packed)
        splits[split] = _split_counts(packed)
    atomic_write_text(context.out / "examples.jsonl", "".join(line + "\n" for line in lines))
    summary = {
        "template": parameters.template,
        "context": parameters.context,
        "splits": splits,
        "files": {name: _file_row(count) for name, count in counts.items()},
        "unread": unread,
        # A target is never cut: what does not fit a row is left out whole.
        "truncated": 0,
        "left_out_too_long": sum(count.too_long for count in counts.values()),
        "duplicates": sum(count.duplicates for count in counts.values()),
        "over_cap": sum(count.over_cap for count in counts.values()),
    }
    atomic_write_json(context.out / "instructions.json", summary)
    atomic_write_json(context.logs / "instructions.json", {"seconds": time.monotonic() - started})
    for name, reason in unread.items():
        context.log.warning("instruction file %s gave no example: %s", name, reason)
    return StageResult(
        counts={
            "examples": splits["train"]["examples"],
            "rows": splits["train"]["rows"],
            "splits": splits,
            "left_out_too_long": summary["left_out_too_long"],
            "duplicates": summary["duplicates"],
            "over_cap": summary["over_cap"],
            "files": len(counts),
            "files_without_examples": len(unread),
        },
        seeds={"instructions": parameters.seed},
        notes=_notes(counts, unread, splits),
    )


def _first(unread: Mapping[str, str]) -> str:
    return next((f"{name}: {reason}" for name, reason in unread.items()), "all were read")


def _write_arrays(folder: Path, packed: Packed) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in packed.arrays().items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _example_lines(split: str, members: list[tuple[Task, Encoded]], packed: Packed) -> list[str]:
    rows = []
    for (task, encoded), (row, segment) in zip(members, packed.placement, strict=True):
        entry = {
            "split": split,
            "row": row,
            "segment": segment,
            "file": task.file,
            "record": task.example.record,
            "prompt_tokens": encoded.target_start,
            "target_tokens": len(encoded.ids) - encoded.target_start,
            "key": task.key.hex(),
        }
        rows.append((row, segment, json.dumps(entry)))
    return [line for _, _, line in sorted(rows)]


def _split_counts(packed: Packed) -> dict[str, int | float]:
    rows, context = packed.input_ids_NT.shape
    tokens = int((packed.segment_ids_NT > 0).sum())
    return {
        "examples": len(packed.placement),
        "rows": rows,
        "tokens": tokens,
        "target_tokens": int(packed.loss_mask_NT.sum()),
        "filled": round(tokens / (rows * context), 6) if rows else 0.0,
    }


def _file_row(count: FileCounts) -> dict[str, Any]:
    row = dict(vars(count))
    row["rejected"] = dict(sorted(count.rejected.items()))
    return row


def _notes(
    counts: Mapping[str, FileCounts],
    unread: Mapping[str, str],
    splits: Mapping[str, Mapping[str, int | float]],
) -> list[str]:
    notes = []
    gsm8k = [name for name in counts if "gsm8k" in Path(name).name.lower()]
    if gsm8k:
        notes.append(
            f"GSM8k is not held out after this finetuning: {', '.join(gsm8k)} holds its training "
            f"questions (as in Chung et al. 2022)"
        )
    if unread:
        notes.append(f"{len(unread)} instruction files gave no example: {'; '.join(unread)}")
    if not splits["validation"]["examples"]:
        notes.append("no instruction example is held out: validation_fraction or the data is small")
    return notes
