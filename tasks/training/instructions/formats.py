"""Instruction files in their real formats to examples.

A file's format is told from its records' fields, not from its name. What cannot be read is counted
by reason; nothing is dropped silently.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.training.instructions.conversations import is_message, read_conversations
from tasks.training.instructions.records import (
    BY_FIELDS,
    BadRecordError,
    Example,
    Family,
    Found,
    Record,
    read_chain_of_thought,
)


@dataclass
class InstructionFile:
    """What one file gave. rejected: records, instances or messages by reason; reason: why it gave
    no example."""

    format: str = ""
    family: Family = "instructions"
    records: int = 0
    examples: list[Example] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    reason: str = ""


def read_file(path: Path, languages: Sequence[str] = ()) -> InstructionFile:
    """Read one file by its suffix (.json, .jsonl, .tsv) and its records' fields.

    Never raises for content: ``reason`` says why a file gave nothing, ``rejected`` counts records.
    """
    result = InstructionFile()
    readers = {".tsv": _read_tsv, ".jsonl": _read_jsonl, ".json": _read_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        result.reason = "no instruction file: not .json, .jsonl or .tsv"
        return result
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        result.reason = f"not UTF-8 at byte {error.start}"
        return result
    if not text.strip():
        result.reason = "empty"
        return result
    reader(text, languages, result)
    _drop_unusable(result)
    if not result.examples and not result.reason:
        main = ", ".join(f"{reason} ({n})" for reason, n in result.rejected.most_common(3))
        result.reason = f"no example in {result.records} records: {main or 'no records'}"
    return result


def _read_tsv(text: str, languages: Sequence[str], result: InstructionFile) -> None:
    result.format, result.family = "flan-cot", "chain_of_thought"
    for number, line in enumerate(text.rstrip("\n").split("\n")):
        result.records += 1
        columns = line.rstrip("\r").split("\t")
        if len(columns) != 3:
            result.rejected["not three columns"] += 1
            continue
        result.examples.append(Example(number, *read_chain_of_thought(columns)))


def _read_jsonl(text: str, languages: Sequence[str], result: InstructionFile) -> None:
    records: list[tuple[int, Any]] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            records.append((result.records, json.loads(line)))
        except (ValueError, RecursionError):
            result.rejected["not JSON"] += 1
        result.records += 1
    _read_records(records, languages, result)


def _read_json(text: str, languages: Sequence[str], result: InstructionFile) -> None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        result.reason = f"not JSON: {error}"
        return
    records = value if isinstance(value, list) else [value]
    result.records = len(records)
    _read_records(list(enumerate(records)), languages, result)


def _read_records(
    records: list[tuple[int, Any]], languages: Sequence[str], result: InstructionFile
) -> None:
    messages: list[tuple[int, Record]] = []
    formats: Counter[tuple[str, Family]] = Counter()
    for number, record in records:
        if not isinstance(record, dict):
            result.rejected[f"record is a {type(record).__name__}, no object"] += 1
            continue
        if is_message(record) or isinstance(record.get("prompt"), dict):
            messages.append((number, record))
            formats["oasst", "dialogue"] += 1
            continue
        for name, family, fields, read in BY_FIELDS:
            if fields <= record.keys():
                formats[name, family] += 1
                _read_record(number, record, read, result)
                break
        else:
            names = ", ".join(sorted(str(key) for key in record)[:6])
            result.rejected[f"no reader for the fields {names}"] += 1
    if messages:
        result.examples += read_conversations(messages, languages, result.rejected)
    if formats:
        result.format, result.family = formats.most_common(1)[0][0]


def _read_record(
    number: int, record: Record, read: Callable[[Record], Found], result: InstructionFile
) -> None:
    try:
        for found in read(record):
            if isinstance(found, BadRecordError):
                result.rejected[str(found)] += 1
            else:
                result.examples.append(Example(number, *found))
    except BadRecordError as error:
        result.rejected[str(error)] += 1


def _drop_unusable(result: InstructionFile) -> None:
    kept = []
    for example in result.examples:
        if _has_lone_surrogate(example.instruction + example.input + example.target):
            result.rejected["half a character (lone surrogate)"] += 1
        elif not example.target:
            result.rejected["empty target"] += 1
        elif not example.instruction and not example.input:
            result.rejected["empty prompt"] += 1
        else:
            kept.append(example)
    result.examples = kept


def _has_lone_surrogate(text: str) -> bool:
    """JSON may escape half of a surrogate pair, which has no UTF-8 form."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
