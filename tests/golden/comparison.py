"""Golden digests: reading, writing, and the rule by which a difference is judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.golden.chain import Golden

DIGESTS = Path(__file__).with_name("digests.json")
TOLERANCE = 1e-4  # nats, per step or per choice, on another machine or torch build
AGAIN = "`make golden` (python -m tests.golden.regenerate) writes the digests anew"


def read_digests(path: Path = DIGESTS) -> tuple[dict[str, Golden], dict[str, str]]:
    """(committed stages, the machine their bits are of)."""
    held = json.loads(path.read_text(encoding="utf-8"))
    return {name: Golden(**row) for name, row in held["stages"].items()}, held["machine"]


def write_digests(
    found: Mapping[str, Golden], machine: Mapping[str, str], path: Path = DIGESTS
) -> None:
    stages: dict[str, Any] = {}
    for name in sorted(found):
        stages[name] = {key: value for key, value in asdict(found[name]).items() if value}
    text = json.dumps({"machine": dict(machine), "stages": stages}, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def problem(name: str, committed: Golden | None, found: Golden, same_machine: bool) -> str | None:
    """Why ``found`` is not what was committed, and what to do; None when it is.

    On the machine of the digests every stage is compared to the bit. On another one the stages
    that compute in floating point are compared by their numbers, within TOLERANCE.
    """
    if committed is None:
        return f"{name}: no golden digest is committed. {AGAIN}."
    if found.version != committed.version:
        return (
            f"{name}: the stage's version is {found.version}, the golden digest is of version"
            f" {committed.version}. {AGAIN}."
        )
    if found.digest == committed.digest:
        return None
    changed = sorted(
        role
        for role in {*found.inputs, *committed.inputs}
        if found.inputs.get(role) != committed.inputs.get(role)
    )
    if changed:
        return (
            f"{name}: its content differs because its inputs do ({', '.join(changed)}): settle"
            " the stages that make them, or tests/golden/inputs.py; then " + AGAIN + "."
        )
    if committed.numbers and not same_machine:
        return _numbers_differ(name, committed, found)
    upgraded = [
        f"{library} {old} -> {found.libraries.get(library)}"
        for library, old in sorted(committed.libraries.items())
        if found.libraries.get(library) != old
    ]
    if upgraded:
        return (
            f"{name}: its content changed with its libraries ({', '.join(upgraded)}). They are"
            f" part of the recipe, so no version needs raising: look at what changed, then {AGAIN}."
        )
    return (
        f"{name}: the same input gives other content, but the stage's version is still"
        f" {found.version}: cached artifacts of the old code would be taken for the new. If the"
        f" change is meant, raise the version in the stage.py of {name!r}; then {AGAIN}."
    )


def _numbers_differ(name: str, committed: Golden, found: Golden) -> str | None:
    if len(found.numbers) != len(committed.numbers):
        return (
            f"{name}: {len(found.numbers)} numbers where {len(committed.numbers)} are committed."
            f" Raise the stage's version if that is meant; then {AGAIN}."
        )
    pairs = zip(found.numbers, committed.numbers, strict=True)
    # "not <=" and not ">": a NaN must not pass.
    off = [n for n, (new, old) in enumerate(pairs) if not abs(new - old) <= TOLERANCE]
    if off:
        first = off[0]
        return (
            f"{name}: {len(off)} of {len(found.numbers)} numbers differ by more than {TOLERANCE};"
            f" number {first} is {found.numbers[first]!r}, committed is"
            f" {committed.numbers[first]!r}. That is no rounding of another machine: raise the"
            f" stage's version if it is meant; then {AGAIN}."
        )
    return None
