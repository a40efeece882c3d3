"""Ray behind the same interface: the same documents on a local cluster."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tasks.corpus import shards
from tasks.corpus.execute import InlineExecutor, Job, LocalExecutor
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.same_code import OtherCode, code_identity
from tests.tasks.corpus.test_build import context, files
from tests.tasks.corpus.test_shards import build, dumps


@pytest.mark.ray
def test_a_ray_cluster_gives_the_same_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.corpus.ray_cluster import RayExecutor

    monkeypatch.setattr(shards, "LEAST_BYTES", 1)
    sizes = dumps(tmp_path / "data")
    expected = files(build(tmp_path / "data", sizes, context(tmp_path / "a"), InlineExecutor()))
    ray = RayExecutor(LocalExecutor(2))
    made = files(build(tmp_path / "data", sizes, context(tmp_path / "b"), ray))
    assert made == expected


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tasks.corpus.executors import choose_executor

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"arriero\[ray\]"):
        choose_executor(CorpusParameters(executor="ray"), context(tmp_path / "c"))


def test_a_node_with_other_code_refuses() -> None:
    from tasks.corpus.ray_cluster import _run_one

    job = Job("tests.tasks.corpus.crew:double", {"value": 2})
    assert _run_one(job, LocalExecutor(1), code_identity()) == (4, [])
    with pytest.raises(OtherCode, match=r"lxml is .* here and 0\.1 there"):
        _run_one(job, LocalExecutor(1), {**code_identity(), "lxml": "0.1"})
