"""Readers of one record each: a small function per format gives its examples.

A record whose fields hold something else raises ``BadRecordError``; of a record with several
instances only the bad ones are lost, each yielded as an error in its place, to be counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Family = Literal["chain_of_thought", "prompted", "natural_instructions", "dialogue", "instructions"]
Record = dict[str, Any]
Triple = tuple[str, str, str]  # instruction, input, target

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


class BadRecordError(ValueError):
    """A record has its format's fields but not their content; the message is the reason."""


Found = Iterator[Triple | BadRecordError]


def _text(record: Record, name: str) -> str:
    value = record.get(name, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRecordError(f"{name} is no text")
    return value.strip()


def read_alpaca(record: Record) -> Found:
    """Stanford Alpaca: instruction, input (may be empty), output."""
    yield _text(record, "instruction"), _text(record, "input"), _text(record, "output")


def read_dolly(record: Record) -> Found:
    """Databricks Dolly: instruction, context (may be empty), response."""
    yield _text(record, "instruction"), _text(record, "context"), _text(record, "response")


def read_prompt_response(record: Record) -> Found:
    """Prompt and response, the prompt often in Alpaca's template already: it is taken apart."""
    prompt, response = _text(record, "prompt"), _text(record, "response")
    found = _ALPACA_PROMPT.search(prompt)
    if found:
        yield found["instruction"].strip(), (found["input"] or "").strip(), response
    else:
        yield prompt, "", response


def read_self_instruct(record: Record) -> Found:
    """Self-Instruct seed and user-oriented tasks: an instruction with several instances."""
    instruction = _text(record, "instruction")

    def read(instance: Record) -> Triple:
        return instruction, _text(instance, "input"), _text(instance, "output")

    yield from _each_instance(record["instances"], "instances", read)


def read_t0(record: Record) -> Found:
    """T0 (P3) rows as Self-Instruct stores them: prompt, completion + ``<|endoftext|>``."""
    completion = _text(record, "completion").removesuffix(_END_OF_TEXT).strip()
    yield _text(record, "prompt"), "", completion


def read_natural_instructions(record: Record) -> Found:
    """Super-NaturalInstructions task file: a definition and its instances (first output)."""
    definition = record["Definition"]
    parts = definition if isinstance(definition, list) else [definition]
    if not all(isinstance(part, str) for part in parts):
        raise BadRecordError("Definition is no text")
    instruction = "\n".join(parts).strip()

    def read(instance: Record) -> Triple:
        output = instance.get("output")
        if isinstance(output, list):
            output = output[0] if output else ""
        if not isinstance(output, str):
            raise BadRecordError("output is no text")
        return instruction, _text(instance, "input"), output.strip()

    yield from _each_instance(record["Instances"], "Instances", read)


def _each_instance(instances: Any, name: str, read: Callable[[Record], Triple]) -> Found:
    """``read`` of every instance; one that cannot be read costs nothing but itself."""
    if not isinstance(instances, list):
        raise BadRecordError(f"{name} is no list")
    for instance in instances:
        if not isinstance(instance, dict):
            yield BadRecordError("instance is no object")
            continue
        try:
            found: Triple | BadRecordError = read(instance)
        except BadRecordError as error:
            found = error
        yield found


def read_chain_of_thought(columns: Sequence[str]) -> Triple:
    """Flan CoT row (question, answer, rationale): the target reasons, then answers."""
    question, answer, rationale = (column.replace("\\n", "\n").strip() for column in columns)
    if not answer or not rationale:
        return question, "", ""
    return question, "", f"{rationale}\nSo the answer is {answer}."


BY_FIELDS: tuple[tuple[str, Family, frozenset[str], Callable[[Record], Found]], ...] = (
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
