"""Benchmark items: the one loader that evaluation and the corpus's decontamination share.

An item is structured (passage, question, choices, answers), never a rendered prompt: prompts belong
to `benchmarks/`, and decontamination wants the words of the benchmark, not of our template.
Nothing here imports torch, so the corpus stages can use it freely.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

# A benchmark file is untrusted input: a compressed one may not grow without bound.
MAX_DECOMPRESSED_BYTES = 256 * 2**20


class BenchmarkDataError(ValueError):
    """A benchmark's files are there but wrong: names the file, the line and what was expected."""


class BenchmarkMissingError(ValueError):
    """A benchmark's files are not under the given folder: names the folder and the files."""


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    id: stable within the benchmark and split. gold: index into ``choices`` (None where there are
    none). answers: accepted strings of a generation benchmark. extra: what only one benchmark has
    (``subject``, ``tests``, ``entry_point``), as strings.
    """

    id: str
    question: str
    passage: str = ""
    choices: tuple[str, ...] = ()
    gold: int | None = None
    answers: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


def load_items(benchmark: str, root: Path, split: str | None = None) -> Iterator[Item]:
    """Items of ``benchmark`` under ``root`` (the ``bench`` folder), in the file's order.

    split: a split name of that benchmark ("test", "validation", "dev", "train"); None is the one
    that is evaluated. Raises BenchmarkMissingError, BenchmarkDataError, or ValueError for an
    unknown benchmark or split.
    """
    from tasks.evaluation.benchmarks.registry import benchmark as find

    found = find(benchmark)
    return found.items(root, split or found.split)


class ItemText(NamedTuple):
    """What of an item must not stand in a training document; see `texts_for_decontamination`."""

    id: str
    question: str
    text: str


def texts_for_decontamination(benchmark: str, root: Path) -> Iterator[ItemText]:
    """The words of every evaluated item of ``benchmark``, in the file's order.

    The text is passage, question, choices and the first accepted answer (the others are mostly
    other names of it), joined by newlines. A question is the benchmark's, without our prompt, a
    blank in it filled with the right choice. Raises as `load_items`.
    """
    from tasks.evaluation.benchmarks.registry import benchmark as find

    found = find(benchmark)
    for item in load_items(benchmark, root):
        question = found.plain_question(item)
        parts = (item.passage, question, *item.choices, *item.answers[:1])
        yield ItemText(item.id, question, "\n".join(part for part in parts if part))


def select_items(items: Iterable[Item], limit: int | None, seed: int = 0) -> list[Item]:
    """At most ``limit`` items (None = all), chosen by hash, in the file's order.

    The ``limit`` items whose sha256("<seed>:<id>") is smallest are taken: files are often sorted
    by subject or source, so the first n would not be a sample. A smaller limit is always a subset
    of a larger one with the same seed.
    """
    everything = list(items)
    seen: set[str] = set()
    for item in everything:
        if item.id in seen:
            raise BenchmarkDataError(f"two items have the id {item.id!r}: ids must be unique")
        seen.add(item.id)
    if limit is None or limit >= len(everything):
        return everything
    ranked = sorted(everything, key=lambda item: _rank(seed, item.id))
    chosen = {item.id for item in ranked[:limit]}
    return [item for item in everything if item.id in chosen]


def _rank(seed: int, identifier: str) -> bytes:
    return hashlib.sha256(f"{seed}:{identifier}".encode()).digest()


def data_sha256(root: Path, paths: Sequence[str]) -> str:
    """sha256 over the (name, sha256) pairs of a benchmark's files, in the given order."""
    total = hashlib.sha256()
    for name in paths:
        with (root / name).open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


def require_files(root: Path, names: Sequence[str]) -> None:
    """Raise BenchmarkMissingError unless every file of ``names`` is a file under ``root``."""
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise BenchmarkMissingError(
            f"benchmark files not found under {root.name}/: {', '.join(missing)}"
        )


def read_jsonl(
    root: Path,
    name: str,
    *,
    texts: Sequence[str] = (),
    lists: Sequence[str] = (),
    others: Sequence[str] = (),
) -> Iterator[tuple[int, dict[str, Any]]]:
    """``(row number from 0, object)`` of a JSON Lines file, plain or ``.gz``.

    texts, lists, others: fields that every row has, strings, lists of strings, and values that the
    caller checks. Blank lines are passed over. Raises BenchmarkMissingError, or BenchmarkDataError
    for a file that cannot be read or a line that is no such object.
    """
    row = 0
    for number, line in enumerate(read_lines(root, name), start=1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise BenchmarkDataError(f"{where}: not valid JSON ({error.msg})") from error
        if not isinstance(value, dict):
            raise BenchmarkDataError(f"{where}: expected a JSON object")
        absent = [key for key in (*texts, *lists, *others) if key not in value]
        if absent:
            raise BenchmarkDataError(f"{where}: lacks the fields {', '.join(absent)}")
        for key in texts:
            if not isinstance(value[key], str):
                found = json.dumps(value[key])[:60]
                raise BenchmarkDataError(f"{where}: {key} must be a string, not {found}")
        for key in lists:
            if not is_texts(value[key]):
                found = repr(value[key])[:60]
                raise BenchmarkDataError(f"{where}: {key} must be a list of strings, not {found}")
        yield row, value
        row += 1


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Whether ``value`` is a list of strings."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def read_tsv(root: Path, name: str, fields: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """``(row number from 0, row)`` of a tab-separated file with a header line; errors as above."""
    lines = read_lines(root, name)
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    absent = [key for key in fields if key not in (reader.fieldnames or ())]
    if absent:
        raise BenchmarkDataError(f"{name}:1: lacks the columns {', '.join(absent)}")
    for row, value in enumerate(reader):
        if any(value[key] is None for key in fields):
            raise BenchmarkDataError(f"{name}:{reader.line_num}: has too few columns")
        yield row, value


def read_lines(root: Path, name: str) -> Iterator[str]:
    """The lines of a text file, plain or ``.gz``, with their ends.

    Raises BenchmarkMissingError, or BenchmarkDataError for what is no UTF-8 or a damaged archive.
    """
    require_files(root, [name])
    path = root / name
    with io.BytesIO(_decompress(path, name)) if path.suffix == ".gz" else path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BenchmarkDataError(f"{name}:{number}: not UTF-8 ({error.reason})") from error


def _decompress(path: Path, name: str) -> bytes:
    try:
        with gzip.open(path, "rb") as compressed:
            data = compressed.read(MAX_DECOMPRESSED_BYTES + 1)
    except EOFError as error:
        raise BenchmarkDataError(f"{name}: ends too early: fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        kind = "damaged" if path.read_bytes()[:2] == b"\x1f\x8b" else "not a gzip file"
        raise BenchmarkDataError(f"{name}: {kind} ({error}): fetch it again") from error
    if len(data) > MAX_DECOMPRESSED_BYTES:
        raise BenchmarkDataError(f"{name}: decompresses to more than 256 MiB")
    return data


def letter_index(value: object, count: int, where: str) -> int:
    """Index of a label: "A".."E", "1".."5" or an int from 0; BenchmarkDataError if out of range."""
    index = -1
    if isinstance(value, int) and not isinstance(value, bool):
        index = value
    elif isinstance(value, str) and len(value.strip()) == 1:
        label = value.strip().upper()
        index = ord(label) - ord("1") if label.isdigit() else ord(label) - ord("A")
    if not 0 <= index < count:
        raise BenchmarkDataError(f"{where}: the label {value!r} names none of {count} choices")
    return index
