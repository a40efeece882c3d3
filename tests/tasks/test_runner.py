"""Every stage runs in one way: built once, found after that, never from damaged bytes."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prefect.states import State
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from flows.session import settle_lost
from registry import runs
from registry.artifacts import ArtifactRef, Kind, Store
from registry.database import upgrade
from registry.files import StoreFull
from registry.fingerprints import FINGERPRINTS, RawFilesChanged, fingerprint
from registry.schema import Outbox, Run
from registry.work import KEEP
from tasks.context import StageContext, StageResult
from tasks.emissions import marks
from tasks.runner import (
    CorruptInput,
    Preempted,
    RunContext,
    Stage,
    Workplace,
    open_metrics_sink,
    open_workplace,
    run_stage,
    settled,
)

WORDS = Stage(name="words", version=1, kind=Kind.DOCUMENTS, libraries=("numpy",))
COUNT = Stage(name="count", version=1, kind=Kind.REPORT)


class Parameters(BaseModel):
    """One field that decides the result and one that does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = "a llama"
    workers: int = Field(1, json_schema_extra={"recipe": False})


@dataclass
class Desk:
    """One flow run on a workplace of its own; counts how often each stage was built."""

    place: Workplace
    run: RunContext
    built: list[str] = field(default_factory=list)

    def words(
        self,
        parameters: Parameters | None = None,
        build: Callable[[dict[str, Path], StageContext], StageResult] | None = None,
        stage: Stage = WORDS,
        **options: object,
    ) -> ArtifactRef | State:
        parameters = parameters or Parameters()

        def default(inputs: dict[str, Path], context: StageContext) -> StageResult:
            self.built.append(stage.name)
            (context.out / "words.txt").write_text(parameters.text, encoding="utf-8")
            (context.logs / "time.txt").write_text(str(len(self.built)), encoding="utf-8")
            return StageResult(counts={"words": 2}, seeds={"order": 0}, notes=["two words"])

        return run_stage(stage, parameters, {}, self.run, build or default, **options)  # type: ignore[arg-type]

    def count(self, words: ArtifactRef) -> ArtifactRef | State:
        def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
            self.built.append("count")
            text = (inputs["words"] / "words.txt").read_text(encoding="utf-8")
            (context.out / "count.json").write_text(json.dumps(len(text)), encoding="utf-8")
            return StageResult()

        return run_stage(COUNT, Parameters(), {"words": words}, self.run, build)

    def rows(self, stage: str = "words") -> list[Run]:
        with self.place.registry.reading() as session:
            query = select(Run).where(Run.stage == stage).order_by(Run.started_at)
            return list(session.scalars(query))

    def staged(self) -> list[Path]:
        """Staging folders that are still there (the locks beside them are not counted)."""
        folder = self.place.store.root / "tmp"
        return [p for p in folder.glob("*") if p.is_dir()] if folder.exists() else []

    def marks(self) -> list[dict[str, object]]:
        return marks.read_marks(self.place.settings.home)[0]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "registry.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def desk(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    home = tmp_path / "home"
    home.mkdir()
    (home / "registry.sqlite").write_bytes(migrated.read_bytes())
    for name in ("DATA", "STORE", "REGISTRY_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(f"ARRIERO_{name}", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("ARRIERO_HOME", str(home))
    place = open_workplace()
    return Desk(place, RunContext(run_id=runs.start_run(place.registry, flow="test"), flow="test"))


def flip(path: Path) -> None:
    """Change one bit and keep the size: only hashing can tell."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(bytes(data))


def events(desk: Desk, kind: str) -> list[dict[str, object]]:
    return [dict(event.payload) for event in runs.list_events(desk.place.registry, kind=kind)]


def test_a_stage_is_built_once_then_cached(desk: Desk) -> None:
    first = desk.words()
    assert isinstance(first, ArtifactRef)
    manifest = desk.place.store.manifest(first)
    assert manifest.counts == {"words": 2}
    assert manifest.seeds == {"order": 0}
    assert manifest.notes == ["two words"]
    assert manifest.parameters == {"text": "a llama"}
    assert set(manifest.libraries) == {"numpy"}
    assert len(manifest.environment["lock_hash"]) == 64

    second = desk.words()
    assert isinstance(second, State)
    assert second.name == "Cached" and second.is_completed()
    assert settled(second) == settled(first) == first
    assert desk.built == ["words"]

    rows = desk.rows()
    assert [r.status for r in rows] == ["completed", "cached"]
    assert {r.artifact_key for r in rows} == {first.key} == {r.recipe for r in rows}
    assert {r.parent_id for r in rows} == {desk.run.run_id}
    assert manifest.run_id == rows[0].id


def test_what_does_not_change_the_result_does_not_change_the_key(desk: Desk) -> None:
    first = settled(desk.words(Parameters(workers=1)))
    assert settled(desk.words(Parameters(workers=8))) == first
    assert settled(desk.words(Parameters(text="an alpaca"))).key != first.key
    assert settled(desk.words(stage=Stage("words", 2, Kind.DOCUMENTS, ("numpy",)))).key != first.key
    assert settled(desk.words(extra_recipe={"listing": "0f"})).key != first.key
    assert len(desk.built) == 4
    # The row still tells what the user had chosen.
    assert [r.parameters["workers"] for r in desk.rows()][:2] == [1, 8]


def test_logs_are_kept_and_are_no_part_of_the_content(desk: Desk) -> None:
    first = settled(desk.words())
    again = settled(desk.words(extra_recipe={"try": 2}))
    texts = [(desk.place.store.path(r) / "logs/time.txt").read_text() for r in (first, again)]
    assert texts == ["1", "2"]
    assert first.digest == again.digest and first.key != again.key
    assert "logs/time.txt" in desk.place.store.manifest(first).log_files


def test_a_damaged_artifact_is_made_again_and_never_a_hit(desk: Desk) -> None:
    first = settled(desk.words())
    flip(desk.place.store.path(first) / "words.txt")
    again = desk.words()
    assert isinstance(again, ArtifactRef), "a damaged artifact was taken for a hit"
    assert again == first
    assert desk.built == ["words", "words"]
    assert (desk.place.store.path(again) / "words.txt").read_text() == "a llama"
    assert desk.place.store.verify(again) == []
    (event,) = events(desk, "quarantined")
    assert "words.txt" in str(event["reason"])
    assert (desk.place.store.root / str(event["moved_to"]) / "words.txt").exists()


def test_a_missing_file_and_a_missing_folder_are_no_hit_either(desk: Desk) -> None:
    first = settled(desk.words())
    (desk.place.store.path(first) / "words.txt").unlink()
    assert isinstance(desk.words(), ArtifactRef)
    desk.place.store.path(first).rename(desk.place.store.root / "moved-by-hand")
    assert isinstance(desk.words(), ArtifactRef)
    assert desk.built == ["words"] * 3


def test_a_damaged_input_is_named_moved_aside_and_made_again_next_time(desk: Desk) -> None:
    words = settled(desk.words())
    flip(desk.place.store.path(words) / "words.txt")
    with pytest.raises(CorruptInput, match=r"input 'words' of count is damaged: words\.txt"):
        desk.count(words)
    assert desk.built == ["words"]
    assert desk.rows("count") == []
    assert len(events(desk, "quarantined")) == 1
    assert settled(desk.count(settled(desk.words()))).kind == Kind.REPORT
    assert desk.built == ["words", "words", "count"]


def test_two_flows_that_want_the_same_artifact_build_it_once(desk: Desk) -> None:
    inside = threading.Event()

    def slow(inputs: dict[str, Path], context: StageContext) -> StageResult:
        desk.built.append("words")
        inside.set()
        time.sleep(0.6)
        (context.out / "words.txt").write_text("a llama", encoding="utf-8")
        return StageResult()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(desk.words, build=slow)
        assert inside.wait(20)
        second = pool.submit(desk.words, build=slow)
        outcomes = [first.result(60), second.result(60)]
    assert desk.built == ["words"]
    assert settled(outcomes[0]) == settled(outcomes[1])
    assert [row.status for row in desk.rows()] == ["completed", "cached"]


def test_the_work_folder_goes_with_the_publishing_unless_it_is_marked(desk: Desk) -> None:
    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        (context.work / "state.txt").write_text("3", encoding="utf-8")
        (context.out / "words.txt").write_text("a llama", encoding="utf-8")
        return StageResult()

    def marked(inputs: dict[str, Path], context: StageContext) -> StageResult:
        (context.work / KEEP).touch()
        return build(inputs, context)

    for step, left in ((build, False), (marked, True)):
        words = settled(desk.words(Parameters(text=step.__name__), build=step))
        assert (desk.place.store.root / "work" / words.key).exists() is left


def test_a_kill_after_publishing_is_found_lost_and_still_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **options: object) -> None:
        raise SystemExit("killed here")

    with monkeypatch.context() as patch:
        patch.setattr("tasks.attempt.outbox.enqueue", killed)
        with pytest.raises(SystemExit):
            desk.words()
    (row,) = desk.rows()
    assert row.status == "running"
    file = desk.place.settings.home / "running" / f"{row.id}.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "started": 1.0}))  # as if the process were gone
    assert settle_lost(desk.place) == [row.id]
    with desk.place.registry.reading() as session:
        (entry,) = session.scalars(select(Outbox)).all()
    assert entry.payload["artifact"]["key"] == row.recipe
    assert isinstance(desk.words(), State)


def test_a_run_of_another_installation_is_not_called_lost(desk: Desk) -> None:
    other = runs.start_run(desk.place.registry, flow="elsewhere")
    assert settle_lost(desk.place) == []
    assert runs.get_run(desk.place.registry, other).status == "running"


def test_a_failing_build_leaves_nothing_but_its_record(desk: Desk) -> None:
    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        (context.out / "half.txt").write_text("half", encoding="utf-8")
        (context.work / "state.txt").write_text("resume here", encoding="utf-8")
        raise RuntimeError("the disk made a noise")

    with pytest.raises(RuntimeError, match="made a noise"):
        desk.words(build=build)
    assert desk.staged() == []
    (row,) = desk.rows()
    assert (row.status, row.error) == ("failed", "RuntimeError: the disk made a noise")
    assert row.artifact_key is None and row.ended_at is not None
    assert desk.place.store.lookup(row.recipe or "") is None
    assert not (desk.place.settings.home / "running" / f"{row.id}.json").exists()
    # What the stage had got done is there for the next attempt of the same recipe.
    state = desk.place.store.work_dir(row.recipe or "") / "state.txt"
    assert state.read_text() == "resume here"

    seen: list[int] = []

    def retry(inputs: dict[str, Path], context: StageContext) -> StageResult:
        seen.append(context.attempt)
        assert (context.work / "state.txt").exists()
        (context.out / "whole.txt").write_text("whole", encoding="utf-8")
        return StageResult()

    assert isinstance(desk.words(build=retry), ArtifactRef)
    assert seen == [2]
    assert [r.attempt for r in desk.rows()] == [1, 2]


def raw_words(desk: Desk, root: Path) -> ArtifactRef:
    """The listing of the one file of a data folder."""
    (file,) = fingerprint(root, desk.place.registry)

    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        rows = [file.model_dump_json(), '{"path": "pypi:x==1", "size": 1, "sha256": "0"}']
        (context.out / FINGERPRINTS).write_text("\n".join(rows) + "\n", encoding="utf-8")
        return StageResult()

    stage = Stage(name="raw.words", version=1, kind=Kind.RAW)
    return settled(desk.words(build=build, stage=stage, extra_recipe={"listing": file.sha256}))


def test_raw_files_that_change_while_they_are_read_are_never_published(
    desk: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    (root / "corpus").mkdir(parents=True)
    dump = root / "corpus" / "dump.txt"

    def read(raw: ArtifactRef, change: Callable[[], object], **options: Path) -> object:
        def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
            desk.built.append("count")
            (context.out / "text").write_bytes(dump.read_bytes())
            change()
            return StageResult()

        return run_stage(COUNT, Parameters(), {"raw": raw}, desk.run, build, **options)

    changes: list[Callable[[], object]] = [
        lambda: dump.write_text("two"),  # the same size
        lambda: os.utime(dump, (1_600_000_000, 1_600_000_000)),
        dump.unlink,
    ]
    for change in changes:
        dump.write_text("one")
        os.utime(dump, (1_700_000_000, 1_700_000_000))
        raw = raw_words(desk, root)
        with pytest.raises(RawFilesChanged, match=r"corpus/dump\.txt.*start the flow again"):
            read(raw, change, raw_root=root)
        row = desk.rows("count")[-1]
        assert (row.status, row.artifact_key) == ("failed", None) and "dump.txt" in row.error
        assert desk.staged() == [] and desk.place.store.lookup(row.recipe or "") is None

    def stumble() -> None:
        dump.write_text("four")
        raise KeyError("the second pass misses a file of the first")

    with pytest.raises(RawFilesChanged, match=r"corpus/dump\.txt"):
        dump.write_text("one")
        os.utime(dump, (1_700_000_000, 1_700_000_000))
        read(raw_words(desk, root), stumble, raw_root=root)

    assert desk.built.count("count") == len(changes) + 1
    dump.write_text("three")  # after it was listed, before it is read
    with pytest.raises(RawFilesChanged, match=r"corpus/dump\.txt"):
        read(raw, lambda: None, raw_root=root)
    with pytest.raises(ValueError, match="count has raw inputs"):
        read(raw, lambda: None)
    assert desk.built.count("count") == len(changes) + 1
    assert isinstance(read(raw_words(desk, root), lambda: None, raw_root=root), ArtifactRef)


def test_a_full_disk_ends_the_attempt_s_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(store: Store) -> Path:
        raise StoreFull("no space left")

    monkeypatch.setattr(Store, "new_staging", full)
    with pytest.raises(StoreFull):
        desk.words()
    assert [(r.status, r.error) for r in desk.rows()] == [("failed", "StoreFull: no space left")]
    assert [m["event"] for m in desk.marks()] == ["begin", "end"]
    assert not list((desk.place.settings.home / "running").glob("*.json"))


@pytest.mark.parametrize(
    ("error", "status"),
    [(Preempted("told to stop"), "preempted"), (KeyboardInterrupt(), "cancelled")],
)
def test_how_an_attempt_ended_is_told_apart(desk: Desk, error: BaseException, status: str) -> None:
    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        raise error

    with pytest.raises(type(error)):
        desk.words(build=build)
    assert [r.status for r in desk.rows()] == [status]
    assert [m.get("status") for m in desk.marks()] == [None, status]
    assert desk.staged() == []


def test_each_attempt_is_marked_for_the_ledger_and_a_cached_one_is_not(desk: Desk) -> None:
    desk.words()
    desk.words()
    begin, end = desk.marks()
    (row, _) = desk.rows()
    assert (begin["event"], begin["stage"], begin["attempt"]) == ("begin", "words", 1)
    assert (end["event"], end["status"]) == ("end", "completed")
    assert begin["entry_id"] == end["entry_id"] == begin["run_id"] == row.id


def test_a_finished_attempt_is_told_to_the_tracker_once_and_a_cached_one_never(desk: Desk) -> None:
    ref = settled(desk.words())
    desk.words()
    with desk.place.registry.reading() as session:
        (message,) = session.scalars(select(Outbox)).all()
    assert message.topic == "stage"
    assert message.payload["run_id"] == desk.rows()[0].id
    assert message.payload["parent_id"] == desk.run.run_id
    assert ArtifactRef.model_validate(message.payload["artifact"]) == ref


def test_metrics_go_to_the_sink_of_this_attempt_and_it_is_closed(desk: Desk) -> None:
    class Sink:
        def __init__(self, record_id: str) -> None:
            self.record_id, self.got, self.closed = record_id, {}, False
            sinks.append(self)

        def __call__(self, values: dict[str, float], step: int) -> None:
            self.got[step] = values

        def close(self) -> None:
            self.closed = True

    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        context.metrics({"loss": 2.5}, 1)
        raise ValueError("diverged")

    sinks: list[Sink] = []
    token = open_metrics_sink.set(Sink)
    try:
        with pytest.raises(ValueError, match="diverged"):
            desk.words(build=build)
    finally:
        open_metrics_sink.reset(token)
    (sink,) = sinks
    assert (sink.record_id, sink.got, sink.closed) == (desk.rows()[0].id, {1: {"loss": 2.5}}, True)


def test_the_sample_s_flag_is_inherited(desk: Desk) -> None:
    words = settled(desk.words(sample=True))
    counted = settled(desk.count(words))
    assert desk.place.store.manifest(words).sample
    assert desk.place.store.manifest(counted).sample


def test_an_input_that_is_gone_is_named(desk: Desk) -> None:
    words = settled(desk.words())
    desk.place.store.path(words).rename(desk.place.store.root / "moved-by-hand")
    with pytest.raises(CorruptInput, match=r"input 'words'.*missing"):
        desk.count(words)


def test_progress_is_logged_as_percent(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        context.progress(0.5, "half of it")
        (context.out / "x.txt").write_text("x", encoding="utf-8")
        return StageResult()

    with caplog.at_level(logging.INFO, logger="arriero"):
        desk.words(build=build)
    assert any("50.0 % half of it" in record.getMessage() for record in caplog.records)
