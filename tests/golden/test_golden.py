"""Golden digests: no stage's output changes for the same input without a raised version.

The refactoring rule of the trainer is in here too: on the machine of the digests (instruction
set, vendor, torch build) the pretraining and finetuning runs are equal to the bit.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.files import content_digest, hash_file, list_files
from tasks.corpus.mixture import SOURCES
from tasks.runner import Stage
from tests.conftest import ROOT
from tests.golden.chain import STEPS, Golden, machine, run_chain
from tests.golden.comparison import TOLERANCE, problem, read_digests, write_digests
from tests.golden.inputs import write_data

FLOATING = {"pretraining", "finetuning", "evaluation", "scaling"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Golden]:
    return run_chain(tmp_path_factory.mktemp("golden"))


def test_no_stage_changed_without_a_new_version(found: dict[str, Golden]) -> None:
    committed, recorded = read_digests()
    here = machine()
    if here != recorded:
        print(f"digests are of {recorded}, this is {here}: numbers within {TOLERANCE}")
    problems = [
        text
        for name, golden in found.items()
        if (text := problem(name, committed.get(name), golden, here == recorded))
    ]
    assert not problems, "\n".join(problems)
    assert set(committed) == set(found), "digests.json holds stages that do not exist"


def test_numbers_agree_on_every_machine(found: dict[str, Golden]) -> None:
    committed, _ = read_digests()
    for name in FLOATING:
        assert found[name].numbers == pytest.approx(committed[name].numbers, abs=TOLERANCE)
    assert {name for name, golden in committed.items() if golden.numbers} == FLOATING
    losses = found["pretraining"].numbers
    assert len(losses) == STEPS and losses[-1] < losses[0] - 0.1  # it learned, so all of it ran


def stages_of_the_tasks() -> Iterator[Stage]:
    for path in sorted((ROOT / "tasks").rglob("stage.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, Stage):
                yield value


def test_every_stage_has_a_golden_digest() -> None:
    from tasks.corpus.stage import documents_stage, raw_stage

    stages = [*stages_of_the_tasks(), *map(raw_stage, SOURCES), *map(documents_stage, SOURCES)]
    versions = {stage.name: stage.version for stage in stages}
    committed, _ = read_digests()
    assert {name: golden.version for name, golden in committed.items()} == versions


def test_inputs_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    digests = set()
    for name in "ab":
        root = write_data(tmp_path / name)
        digests.add(content_digest({file: hash_file(root / file) for file in list_files(root)}))
    assert len(digests) == 1


OLD = Golden(1, "aa", {"pyarrow": "1"}, {"raw": "11"})
LOSSES = dataclasses.replace(OLD, numbers=[3.0, 2.0])


@pytest.mark.parametrize(
    ("committed", "found", "same_machine", "expected"),
    [
        (OLD, OLD, True, None),
        (OLD, dataclasses.replace(OLD, libraries={"pyarrow": "2"}), True, None),
        (OLD, dataclasses.replace(OLD, digest="bb"), True, "raise the version in the stage.py"),
        # Bits of a stage that computes no floats are compared on every machine.
        (OLD, dataclasses.replace(OLD, digest="bb"), False, "raise the version in the stage.py"),
        (OLD, dataclasses.replace(OLD, version=2), True, "version is 2"),
        (OLD, dataclasses.replace(OLD, version=2, digest="bb"), True, "version is 2"),
        (None, OLD, True, "no golden digest"),
        (OLD, dataclasses.replace(OLD, digest="bb", inputs={"raw": "2"}), True, "inputs do .raw"),
        (OLD, dataclasses.replace(OLD, digest="bb", libraries={"pyarrow": "2"}), True, "1 -> 2"),
        (LOSSES, dataclasses.replace(LOSSES, digest="bb"), False, None),
        (LOSSES, dataclasses.replace(LOSSES, digest="bb"), True, "raise the version"),
        (LOSSES, dataclasses.replace(LOSSES, digest="b", numbers=[3.0, 2.00009]), False, None),
        (LOSSES, dataclasses.replace(LOSSES, digest="b", numbers=[3.0, 2.0002]), False, "1 of 2"),
        (LOSSES, dataclasses.replace(LOSSES, digest="b", numbers=[3.0, math.nan]), False, "1 of 2"),
        (LOSSES, dataclasses.replace(LOSSES, digest="b", numbers=[3.0]), False, "1 numbers where"),
    ],
)
def test_rule(
    committed: Golden | None, found: Golden, same_machine: bool, expected: str | None
) -> None:
    said = problem("tokens", committed, found, same_machine)
    if expected is None:
        assert said is None
    else:
        assert said is not None and said.startswith("tokens: ")
        assert expected.replace(".raw", "(raw") in said
        assert "make golden" in said


def test_digests_file_round_trip(tmp_path: Path, found: dict[str, Golden]) -> None:
    path = tmp_path / "digests.json"
    write_digests(found, machine(), path)
    read, recorded = read_digests(path)
    assert read == found and recorded == machine()
