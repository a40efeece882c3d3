"""One process per GPU of the machine, whatever the recipe, and no two runs that wait crosswise."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

from tasks.training.engine import locks
from tasks.training.engine.distributed import StopRequested

NEVER = {"beat": lambda: None, "stop_requested": lambda: False}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(locks.tempfile, "gettempdir", lambda: str(tmp_path))


def held(path: Path) -> bool:
    """Whether somebody holds the lock."""

    def at_once() -> bool:
        return True

    try:
        descriptor = locks.acquire(path, beat=lambda: None, stop_requested=at_once, what="it")
    except StopRequested:
        return True
    os.close(descriptor)
    return False


def test_lock_is_waited_for_with_signs_of_life_and_got_when_free(tmp_path: Path) -> None:
    mine = locks.acquire(tmp_path / "lock", what="it", **NEVER)
    assert not os.get_inheritable(mine)
    beats: list[int] = []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            os.close(mine)

    theirs = locks.acquire(tmp_path / "lock", beat=beat, stop_requested=lambda: False, what="it")
    assert len(beats) == 3 and held(tmp_path / "lock")
    os.close(theirs)
    assert not held(tmp_path / "lock")


def test_two_recipes_on_one_gpu_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    names = locks.device_names(1)
    first = locks.acquire_device(locks.device_directory(), names, 0, lambda rank: True, **NEVER)
    directory = locks.device_directory()  # no part of it depends on the recipe
    assert directory.stat().st_mode & 0o7777 == 0o1777
    assert held(directory / locks.device_names(1)[0])
    os.close(first)
    assert not held(directory / names[0])


def test_gpu_is_named_by_what_it_is_and_not_by_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7f,MIG-4a/1/0")
    assert locks.device_names(3) == ["2.lock", "GPU-7f.lock", "MIG-4a-1-0.lock"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert locks.device_names(2) == ["0.lock", "1.lock"]

    class Properties:
        uuid = "7f"

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    for visible in ("5", "GPU-7f"):  # the same GPU by number and by UUID
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert locks.device_names(1) == ["GPU-7f.lock"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-4a")
    assert locks.device_names(1) == ["MIG-4a.lock"]


def test_runs_that_see_the_gpus_in_another_order_do_not_wait_crosswise(tmp_path: Path) -> None:
    finished: list[str] = []

    def run(name: str, names: list[str]) -> None:
        taken: set[int] = set()
        got: list[int] = []
        both = threading.Barrier(2)

        def rank(number: int) -> None:
            both.wait()
            got.append(locks.acquire_device(tmp_path, names, number, taken.__contains__, **NEVER))
            taken.add(number)

        ranks = [threading.Thread(target=rank, args=(n,), daemon=True) for n in (0, 1)]
        for thread in ranks:
            thread.start()
        for thread in ranks:
            thread.join(20)
        if len(got) == 2:
            finished.append(name)
        for descriptor in got:
            os.close(descriptor)

    for _ in range(10):
        runs = [
            threading.Thread(target=run, args=("a", ["x.lock", "y.lock"])),
            threading.Thread(target=run, args=("b", ["y.lock", "x.lock"])),
        ]
        for thread in runs:
            thread.start()
        for thread in runs:
            thread.join()
    assert sorted(finished) == ["a"] * 10 + ["b"] * 10


def test_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        locks.acquire(tmp_path / "lock", what="it", **NEVER)
    assert not (tmp_path / "elsewhere").exists()
