"""What a launch tells of its trainer: each point once, and none of a branch that was given up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.training.engine.config import FAULTS_ALLOWED
from tasks.training.follow import Appended, Follower
from tasks.training.launch import TrainerFailed, launch
from tests.tasks.training.support import losses, write_config, write_tokens

ALLOW = {FAULTS_ALLOWED: "1"}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


class Curve:
    """A sink of metrics that keeps every training loss."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float | None]] = []

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        if "step_seconds" in values:
            self.points.append((step, values.get("loss")))


def train(tokens: Path, work: Path, curve: Curve, **changes: Any) -> None:
    launch(
        write_config(tokens, work, **changes),
        log_path=work / "trainer.log",
        on_metrics=curve,
        environment=ALLOW,
        poll_seconds=0.05,
    )


def test_steps_redone_after_a_roll_back_are_told_once_and_as_they_are_now(
    tokens: Path, tmp_path: Path
) -> None:
    curve = Curve()
    train(tokens, tmp_path, curve, fault={"nan_at": [5, 6, 7], "sleep_per_step": 0.1})
    assert curve.points == sorted(losses(tmp_path).items())
    assert [step for step, _ in curve.points] == list(range(1, 13))


def test_what_a_killed_attempt_did_after_its_checkpoint_is_not_told_by_the_next(
    tokens: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainerFailed):
        train(tokens, tmp_path, Curve(), fault={"kill_at_step": 7})
    path = tmp_path / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[-1]["step"] == 7
    rows[-1]["loss"] = 99.0  # as another world size or a GPU would redo it: not the same
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    curve = Curve()
    train(tokens, tmp_path, curve)
    assert curve.points == sorted(losses(tmp_path).items())
    assert len(curve.points) == 12 and 99.0 not in dict(curve.points).values()


class Files:
    """The two files of a work folder, as a trainer writes them."""

    def __init__(self, work: Path) -> None:
        self.work, self.metrics = work, work / "metrics.jsonl"

    def event(self, name: str, step: int) -> None:
        with (self.work / "events.jsonl").open("a") as handle:
            handle.write(json.dumps({"event": name, "step": step}) + "\n")

    def points(self, *rows: tuple[int, float]) -> None:
        with self.metrics.open("a") as handle:
            for step, loss in rows:
                handle.write(json.dumps({"step": step, "loss": loss, "step_seconds": loss}) + "\n")

    def validation(self, step: int) -> None:
        with self.metrics.open("a") as handle:
            handle.write(json.dumps({"step": step, "validation_loss.c4": 1.0}) + "\n")

    def rewrite(self, keep: int) -> None:
        kept = [x for x in self.metrics.read_text().splitlines() if json.loads(x)["step"] <= keep]
        self.metrics.unlink()
        self.metrics.write_text("".join(line + "\n" for line in kept))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def told(follower: Follower, **how: bool) -> list[tuple[int, float | None]]:
    return [(line["step"], line.get("loss")) for line in follower.look(**how).points]


def test_points_wait_for_a_checkpoint_and_progress_does_not(files: Files, tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    assert told(follower) == []
    files.event("started", 0)
    files.points((1, 4.0), (2, 3.5))
    news = follower.look()
    assert news.points == [] and news.latest is not None and news.latest["step"] == 2
    assert list(follower.step_seconds) == [4.0, 3.5]
    files.event("checkpoint", 2)
    files.points((3, 9.0))
    assert told(follower) == [(1, 4.0), (2, 3.5)]
    files.validation(2)  # after the checkpoint of its step
    files.rewrite(2)
    files.event("rolled_back", 2)
    files.points((3, 3.0))
    assert told(follower) == [(2, None)]
    assert told(follower, ended=True) == [(3, 3.0)]
    assert told(follower, ended=True) == []


def test_an_earlier_attempt_s_events_are_told_but_settle_nothing(
    files: Files, tmp_path: Path
) -> None:
    files.event("started", 0)
    files.points((1, 4.0), (2, 3.5), (3, 3.0))
    files.event("checkpoint", 3)
    follower = Follower(tmp_path)
    news = follower.look()
    assert [event["event"] for event in news.events] == ["started", "checkpoint"]
    assert news.points == [] and told(follower, ended=True) == []  # it never got to its work
    files.rewrite(2)  # the checkpoint of step 3 was refused
    files.event("resumed", 2)
    files.points((3, 2.5))
    files.event("finished", 3)
    assert told(follower) == [(1, 4.0), (2, 3.5), (3, 2.5)]


def test_a_rewritten_file_of_the_same_size_is_read_from_the_start(files: Files) -> None:
    lines = Appended(files.metrics)
    assert lines.read() == ([], False)
    files.points((1, 4.0))
    with files.metrics.open("a") as handle:
        handle.write('{"step": 2, "lo')
    found, rewritten = lines.read()
    assert [line["step"] for line in found] == [1] and not rewritten
    files.metrics.write_text(files.metrics.read_text().replace("4.0", "5.0"))  # the same inode
    found, rewritten = lines.read()
    assert [line["loss"] for line in found] == [5.0] and rewritten
    files.metrics.write_text("")
    assert lines.read() == ([], True) and lines.read() == ([], False)
