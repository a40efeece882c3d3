"""Instruction files written by tests, and the stage run on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.context import StageContext
from tasks.training.instructions.build import build_instructions
from tasks.training.instructions.parameters import Caps, InstructionParameters
from tasks.training.instructions.stage import list_files

Writer = Callable[[str, str], Path]

PARAMETERS = InstructionParameters(
    context=64, validation_fraction=0.2, caps=Caps(chain_of_thought=12)
)


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def build(data: Path, tokenizer: Path, out: Path, **changes: Any) -> tuple[Path, Any]:
    out.mkdir()
    files = {row["path"]: row["sha256"] for row in list_files(data, "instruct")}
    parameters = PARAMETERS.model_copy(update=changes)
    context = StageContext(out=out, work=out)
    return out, build_instructions(parameters, data, files, tokenizer, context, files)


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "logs"
    }
