"""Readers of the real instruction formats: each a small function over one record.

A file's format is told from its records' fields, not from its name. What cannot be read is counted
by reason; nothing is dropped silently.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Family = Literal["chain_of_thought", "prompted", "natural_instructions", "dialogue", "instructions"]
Record = dict[str, Any]

_ALPACA_PROMPT = re.compile(
    r"### Instruction:\n(?P<instruction>.*?)(?:\n\n### Input:\n(?P<input>.*?))?"
    r"\n\n### Response:\s*\Z",
    re.DOTALL,
)
_END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Example:
    """One task: text is stripped of space at its ends; ``input`` may be empty.

    record: number of the record in its file, from 0.
    """

    record: int
    instruction: str
    input: str
    target: str


@dataclass
class InstructionFile:
    """What one file gave. rejected: records (or messages) by reason; reason: why none was read."""

    format: str = ""
    family: Family = "instructions"
    records: int = 0
    examples: list[Example] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    reason: str = ""


class BadRecordError(ValueError):
    """A record has its format's fields but not their content; the message is the reason."""


def _text(record: Record, name: str) -> str:
    value = record.get(name, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRecordError(f"{name} is no text")
    return value.strip()


# ---- one record each -------------------------------------------------------------------------


def read_alpaca(record: Record) -> Iterator[tuple[str, str, str]]:
    """Stanford Alpaca: instruction, input (may be empty), output."""
    yield _text(record, "instruction"), _text(record, "input"), _text(record, "output")


def read_dolly(record: Record) -> Iterator[tuple[str, str, str]]:
    """Databricks Dolly: instruction, context (may be empty), response."""
    yield _text(record, "instruction"), _text(record, "context"), _text(record, "response")


def read_prompt_response(record: Record) -> Iterator[tuple[str, str, str]]:
    """Prompt and response, the prompt often in Alpaca's template already: it is taken apart."""
    prompt, response = _text(record, "prompt"), _text(record, "response")
    found = _ALPACA_PROMPT.search(prompt)
    if found:
        yield found["instruction"].strip(), (found["input"] or "").strip(), response
    else:
        yield prompt, "", response


def read_self_instruct(record: Record) -> Iterator[tuple[str, str, str]]:
    """Self-Instruct seed and user-oriented tasks: an instruction with several instances."""
    instances = record["instances"]
    if not isinstance(instances, list):
        raise BadRecordError("instances is no list")
    for instance in instances:
        if not isinstance(instance, dict):
            raise BadRecordError("instance is no object")
        yield _text(record, "instruction"), _text(instance, "input"), _text(instance, "output")


def read_t0(record: Record) -> Iterator[tuple[str, str, str]]:
    """T0 (P3) rows as Self-Instruct stores them: prompt, completion + ``<|endoftext|>``."""
    completion = _text(record, "completion").removesuffix(_END_OF_TEXT).strip()
    yield _text(record, "prompt"), "", completion


def read_natural_instructions(record: Record) -> Iterator[tuple[str, str, str]]:
    """Super-NaturalInstructions task file: a definition and its instances (first output)."""
    definition = record["Definition"]
    if isinstance(definition, list):
        definition = "\n".join(str(part) for part in definition)
    instances = record["Instances"]
    if not isinstance(instances, list):
        raise BadRecordError("Instances is no list")
    for instance in instances:
        output = instance.get("output") if isinstance(instance, dict) else None
        if isinstance(output, list):
            output = output[0] if output else ""
        if not isinstance(output, str):
            raise BadRecordError("output is no text")
        yield str(definition).strip(), _text(instance, "input"), output.strip()


def read_chain_of_thought(columns: Sequence[str]) -> tuple[str, str, str]:
    """Flan CoT row (question, answer, rationale): the target reasons, then answers."""
    question, answer, rationale = (column.replace("\\n", "\n").strip() for column in columns)
    if not answer or not rationale:
        return question, "", ""
    return question, "", f"{rationale}\nSo the answer is {answer}."


_BY_FIELDS: tuple[
    tuple[str, Family, frozenset[str], Callable[[Record], Iterator[tuple[str, str, str]]]], ...
] = (
    (
        "natural-instructions",
        "natural_instructions",
        frozenset({"Definition", "Instances"}),
        read_natural_instructions,
    ),
    ("self-instruct", "instructions", frozenset({"instruction", "instances"}), read_self_instruct),
    ("alpaca", "instructions", frozenset({"instruction", "output"}), read_alpaca),
    ("dolly", "instructions", frozenset({"instruction", "response"}), read_dolly),
    ("prompt-response", "instructions", frozenset({"prompt", "response"}), read_prompt_response),
    ("t0", "prompted", frozenset({"prompt", "completion"}), read_t0),
)


# ---- conversations ---------------------------------------------------------------------------


def _is_message(record: Record) -> bool:
    return {"text", "role"} <= record.keys() and bool(
        {"message_id", "user_message_id"} & record.keys()
    )


def read_conversations(
    records: Sequence[tuple[int, Record]], languages: Sequence[str], rejected: Counter[str]
) -> Iterator[Example]:
    """OpenAssistant trees or messages: one example per assistant turn of each tree's best path.

    The best reply is the one with the lowest rank (annotators' order; unranked ones last, in file
    order). A deleted or rejected message ends its path. Later turns carry the conversation so far
    as ``User:`` and ``Assistant:`` paragraphs.
    """
    children: dict[str, list[Record]] = {}
    roots: list[tuple[int, Record]] = []
    known = {_identity(record) for _, record in records if _is_message(record)}
    for number, record in records:
        if isinstance(record.get("prompt"), dict):
            roots.append((number, record["prompt"]))
            continue
        parent = record.get("parent_id", record.get("parent_message_id"))
        if parent is None:
            roots.append((number, record))
        elif str(parent) in known:
            children.setdefault(str(parent), []).append(record)
        else:
            rejected["message whose parent is missing"] += 1
    for number, root in roots:
        turns: list[tuple[str, str]] = []
        message: Record | None = root
        expected = "prompter"
        answered = False
        while message is not None:
            fault = _fault(message, expected, languages)
            if fault:
                rejected[fault] += 1
                break
            turns.append((expected, message["text"].strip()))
            if expected == "assistant":
                answered = True
                yield Example(number, _history(turns[:-1]), "", turns[-1][1])
            expected = "assistant" if expected == "prompter" else "prompter"
            replies = message.get("replies") or children.get(_identity(message), [])
            if not isinstance(replies, list):
                rejected["replies is no list"] += 1
                break
            usable = [r for r in replies if isinstance(r, dict) and not _removed(r)]
            message = min(usable, key=_rank, default=None)
        if not answered and message is None:
            rejected["conversation without a reply"] += 1


def _identity(message: Record) -> str:
    return str(message.get("message_id", message.get("user_message_id", "")))


def _rank(message: Record) -> float:
    rank = message.get("rank")
    return float(rank) if isinstance(rank, int | float) else float("inf")


def _removed(message: Record) -> bool:
    return bool(message.get("deleted")) or message.get("review_result") is False


def _fault(message: Record, expected: str, languages: Sequence[str]) -> str:
    if _removed(message):
        return "message deleted or rejected by its reviewers"
    if not isinstance(message.get("text"), str):
        return "message without text"
    if message.get("role") != expected:
        return f"message out of turn (no {expected})"
    language = message.get("lang")
    if languages and language is not None and language not in languages:
        return "message in another language"
    return ""


def _history(turns: Sequence[tuple[str, str]]) -> str:
    if len(turns) == 1:
        return turns[0][1]
    names = {"prompter": "User", "assistant": "Assistant"}
    return "\n\n".join(f"{names[role]}: {text}" for role, text in turns)


# ---- files -----------------------------------------------------------------------------------


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
    records: list[Any] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
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
    _read_records(value if isinstance(value, list) else [value], languages, result)


def _read_records(records: list[Any], languages: Sequence[str], result: InstructionFile) -> None:
    result.records += len(records)
    messages: list[tuple[int, Record]] = []
    formats: Counter[tuple[str, Family]] = Counter()
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            result.rejected[f"record is a {type(record).__name__}, no object"] += 1
            continue
        if _is_message(record) or isinstance(record.get("prompt"), dict):
            messages.append((number, record))
            formats["oasst", "dialogue"] += 1
            continue
        for name, family, fields, read in _BY_FIELDS:
            if fields <= record.keys():
                formats[name, family] += 1
                try:
                    result.examples += [Example(number, *example) for example in read(record)]
                except BadRecordError as error:
                    result.rejected[str(error)] += 1
                break
        else:
            names = ", ".join(sorted(str(key) for key in record)[:6])
            result.rejected[f"no reader for the fields {names}"] += 1
    if messages:
        result.examples += read_conversations(messages, languages, result.rejected)
    if formats:
        result.format, result.family = formats.most_common(1)[0][0]


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
