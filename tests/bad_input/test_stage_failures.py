"""A stage that fails: one named error, nothing published, nothing staged, the attempt recorded."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel
from sqlalchemy import select

from registry import runs
from registry.artifacts import Kind
from registry.database import upgrade
from registry.files import StoreFull, StoreNotWritable, out_of_space
from registry.schema import Artifact, Run
from registry.settings import load_settings
from tasks.context import StageContext, StageResult
from tasks.runner import RunContext, Stage, Workplace, open_workplace, run_stage

Usage = namedtuple("Usage", "total used free")
STAGE = Stage(name="corpus", version=1, kind=Kind.DOCUMENTS)


class NoParameters(BaseModel):
    """A stage without settings."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.setenv("ARRIERO_HOME", str(tmp_path / "home"))
    for name in ("ARRIERO_REGISTRY_URL", "ARRIERO_STORE", "ARRIERO_DATA"):
        monkeypatch.delenv(name, raising=False)
    upgrade(load_settings().registry_address)
    return open_workplace()


def attempt(place: Workplace, build: Callable[[StageContext], None]) -> None:
    parent = runs.start_run(place.registry, flow="preparation")

    def made(_: dict[str, Path], context: StageContext) -> StageResult:
        (context.out / "first.bin").write_bytes(b"half of it")
        build(context)
        return StageResult()

    run_stage(STAGE, NoParameters(), {}, RunContext(run_id=parent, flow="preparation"), made)


def assert_nothing_is_left(place: Workplace, error: str) -> None:
    assert not list((place.store.root / "tmp").glob("*")), "staging was left"
    assert not (place.store.root / "documents").exists(), "a folder was published"
    with place.registry.reading() as session:
        assert session.scalars(select(Artifact)).all() == []
        row = session.scalars(select(Run).where(Run.stage == "corpus")).one()
    assert row.status == "failed" and row.artifact_key is None
    assert row.error is not None and row.error.startswith(error)


def test_full_disk_inside_a_stage(place: Workplace) -> None:
    def build(context: StageContext) -> None:
        with Path("/dev/full").open("wb", buffering=0) as handle:
            handle.write(b"x")

    with pytest.raises(StoreFull) as caught:
        attempt(place, build)
    message = str(caught.value)
    assert message.startswith("no space left for ") and str(place.store.root) in message
    assert "nothing was published" in message and "set ARRIERO_STORE" in message
    assert_nothing_is_left(place, "StoreFull: no space left")


def test_full_disk_that_a_library_reports_in_words_of_its_own(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(context: StageContext) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 4096))
        raise RuntimeError("36 requested and 0 written")

    with pytest.raises(StoreFull, match="no space left") as caught:
        attempt(place, build)
    assert str(caught.value.__cause__) == "36 requested and 0 written"
    assert_nothing_is_left(place, "StoreFull: no space left")


def test_other_errors_pass_unchanged(place: Workplace) -> None:
    def build(context: StageContext) -> None:
        raise ValueError("source 'books' has no files")

    with pytest.raises(ValueError, match=r"^source 'books' has no files$"):
        attempt(place, build)
    assert_nothing_is_left(place, "ValueError: source 'books'")


def test_what_is_no_full_disk_is_not_called_one(tmp_path: Path) -> None:
    assert out_of_space(KeyboardInterrupt(), tmp_path) is None
    assert out_of_space(OSError(errno.EIO, "Input/output error"), tmp_path) is None
    assert out_of_space(OSError(errno.EDQUOT, "Quota exceeded", "f"), tmp_path) is not None


def test_store_that_cannot_be_written(place: Workplace) -> None:
    (place.store.root / "tmp").write_text("in the way")
    with pytest.raises(StoreNotWritable, match=r"cannot write .*set ARRIERO_STORE"):
        attempt(place, lambda _: None)
    (place.store.root / "tmp").unlink()
    assert_nothing_is_left(place, "StoreNotWritable: cannot write")
