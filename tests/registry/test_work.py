"""Work folders go with their recipe's artifact, or when nobody has wanted them for a month."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry import runs
from registry.artifacts import Kind, Store, Swept
from registry.database import Registry
from registry.work import ABANDONED_S, KEEP

DAY = 86_400.0
NOON = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path, registry: Registry) -> Store:
    """A store whose clock stands at ``NOON``."""
    return Store(tmp_path / "store", registry, clock=lambda: NOON)


def worked(store: Store, key: str, *, days_ago: float) -> Path:
    """A work folder in which a checkpoint was last written so long ago."""
    folder = store.work_dir(key)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "state").write_text("3")
    at = NOON - days_ago * DAY
    for path in (folder / "checkpoints" / "state", folder / "checkpoints", folder):
        os.utime(path, (at, at))
    return folder


@contextmanager
def held(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def test_abandoned_folders_go_after_a_month_and_are_told(store: Store, registry: Registry) -> None:
    assert store.sweep() == Swept() and ABANDONED_S == 30 * DAY
    old, recent = (worked(store, k, days_ago=d) for k, d in (("aa", 30.01), ("bb", 29.9)))
    # What was written last counts, wherever it lies.
    beating = worked(store, "cc", days_ago=90)
    os.utime(beating / "checkpoints" / "state", (NOON - DAY, NOON - DAY))
    assert store.sweep() == Swept(abandoned=(old,))
    assert not old.exists() and recent.is_dir() and beating.is_dir()
    (event,) = runs.list_events(registry, kind="work-swept")
    assert event.payload == {"key": "aa", "older_than_days": 30}


@pytest.mark.parametrize("lock", ["aa.lock", "aa/lock"])
def test_a_folder_that_somebody_works_in_is_left_alone(store: Store, lock: str) -> None:
    old = worked(store, "aa", days_ago=400)
    with held(old.parent / lock):
        os.utime(old, (NOON - 400 * DAY,) * 2)
        if lock == "aa/lock":
            os.utime(old / "lock", (NOON - 400 * DAY,) * 2)
        assert store.sweep() == Swept() and old.is_dir()
    assert store.sweep() == Swept(abandoned=(old,))


@pytest.mark.parametrize("lock", ["aa.lock", "aa/lock"])
def test_a_folder_that_somebody_works_in_is_not_even_looked_through(
    store: Store, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    """Its files come and go meanwhile."""
    old = worked(store, "aa", days_ago=400)
    looked: list[Path] = []
    monkeypatch.setattr("registry.work.last_change", lambda folder: looked.append(folder) or NOON)
    with held(old.parent / lock):
        store.sweep()
    assert looked == []
    store.sweep()
    assert looked == [old]


@pytest.mark.parametrize("gone", ["checkpoints/state", "checkpoints"])
def test_a_name_that_vanishes_while_it_is_looked_at_is_a_change_just_now(
    store: Store, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Of a process that holds no lock: somebody who tidies up by hand."""
    old = worked(store, "aa", days_ago=400)
    walk = os.walk

    def racing(folder: Path, **options: Any) -> Iterator[Any]:
        for parent, folders, names in walk(folder, **options):
            if gone == "checkpoints/state" and "state" in names:
                (old / gone).unlink()
            yield parent, folders, names
            if gone == "checkpoints" and "checkpoints" in folders:
                shutil.rmtree(old / gone)

    monkeypatch.setattr(os, "walk", racing)
    assert store.sweep() == Swept() and old.is_dir()
    assert not (old / gone).exists()


def test_checkpoints_that_were_asked_for_stay(store: Store) -> None:
    old = worked(store, "aa", days_ago=400)
    (old / KEEP).touch()
    os.utime(old / KEEP, (NOON - 400 * DAY,) * 2)
    assert store.sweep() == Swept()
    store.remove_work("aa")
    assert (old / "checkpoints" / "state").is_file()


def test_what_a_published_recipe_left_goes_at_once(store: Store, put: Any) -> None:
    ref = put(Kind.CHECKPOINT, "pretraining", {"a": "b"}, into=store)
    left = worked(store, ref.key, days_ago=0)
    with held(left.with_name(f"{ref.key}.lock")):
        assert store.sweep() == Swept()
    assert store.sweep() == Swept(published=(left,))
    # An artifact that is gone is made again, from whatever is there.
    again = worked(store, ref.key, days_ago=0)
    (store.path(ref) / "manifest.json").unlink()
    assert store.sweep() == Swept() and again.is_dir()


def test_removal_that_was_killed_is_finished_by_the_next_sweep(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = worked(store, "aa", days_ago=0)
    with monkeypatch.context() as patch:
        patch.setattr("registry.work.shutil.rmtree", lambda *a, **o: None)
        store.remove_work("aa")
    (left,) = (path for path in folder.parent.iterdir() if path.is_dir())
    assert not folder.exists() and left.name.startswith("gone-")
    store.sweep()
    assert not left.exists()
    store.remove_work("aa")  # nothing there: nothing to do
