"""A run of one shard group: what it takes from its form and from its machine."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import shards as module
from flows.shards import ShardsParameters
from tasks.corpus.execute import LocalExecutor


@pytest.mark.parametrize("workers", [None, 3])
def test_workers_are_the_cores_of_this_machine_unless_a_number_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    taken: list[tuple[Any, ...]] = []
    place = SimpleNamespace(
        store=SimpleNamespace(root=tmp_path / "store"), settings=SimpleNamespace(data=tmp_path)
    )

    def run_group(*given: Any) -> int:
        taken.append(given)
        return 5

    monkeypatch.setattr(module, "recorded", lambda flow, parameters: nullcontext())
    monkeypatch.setattr(module, "open_workplace", lambda: place)
    monkeypatch.setattr(module, "run_group", run_group)
    form = ShardsParameters(folder="work/key/fan-out", group=1, workers=workers)
    assert module.shards.fn(form) == 5
    ((store, folder, group, executor, data),) = taken
    assert (store, folder, group) == (tmp_path / "store", "work/key/fan-out", 1)
    assert isinstance(executor, LocalExecutor) and data == tmp_path.resolve()
    assert executor.workers == (workers or len(os.sched_getaffinity(0)))
