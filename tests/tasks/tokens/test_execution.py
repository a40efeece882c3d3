"""Where the parts of a corpus are worked on: any executor, the same tokenizer and tokens."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.context import StageContext, recipe_parameters
from tasks.corpus.execute import Executor, InlineExecutor, Job, LocalExecutor
from tasks.corpus.fan_out import PrefectExecutor, job_row, row_job
from tasks.tokens.execution import executor_of
from tasks.tokens.parameters import TokenizerParameters, TokensParameters
from tasks.tokens.shards import build_tokens
from tasks.tokens.tokenizer import build_tokenizer
from tests.tasks.corpus.test_fan_out import Server, install
from tests.tasks.tokens.corpora import SMALL, tree_hash, write_corpus

ONE = TokensParameters(workers=1)


@dataclass
class OtherMachines:
    """Sends jobs as the `prefect` executor does: JSON without this machine's paths, in groups."""

    store: Path
    elsewhere: Path
    sent: list[str] = field(default_factory=list)

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        rows = [json.dumps(job_row(job, self.store)) for job in jobs]
        self.sent += rows
        moved = [row_job(json.loads(row), self.elsewhere) for row in rows]
        results = dict(zip(range(len(moved)), InlineExecutor().run(moved[::-1]), strict=True))
        yield from (json.loads(json.dumps(results[len(moved) - 1 - n])) for n in range(len(moved)))


def store_of(folder: Path) -> Path:
    """A store's root with a corpus artifact."""
    write_corpus(folder / "artifacts" / "corpus")
    return folder


def place(store: Path, name: str) -> StageContext:
    """Where a stage of this store works."""
    for part in ("tmp", "work"):
        (store / part / name).mkdir(parents=True)
    return StageContext(out=store / "tmp" / name, work=store / "work" / name)


def build(store: Path, executor: Executor) -> tuple[Path, Path]:
    """Tokenizer and tokens of the store's corpus, made by one executor."""
    corpus = store / "artifacts" / "corpus"
    build_tokenizer(SMALL, corpus, one := place(store, "tokenizer"), executor)
    build_tokens(ONE, corpus, one.out, two := place(store, "tokens"), executor)
    return one.out, two.out


def test_machines_that_share_the_store_make_the_same(
    built: dict[str, Path], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "here" / "store")
    (tmp_path / "mount").symlink_to(tmp_path / "here")
    machines = OtherMachines(store, tmp_path / "mount" / "store")
    tokenizer, tokens = build(store, machines)
    assert tree_hash(tokenizer) == tree_hash(built["tokenizer"])
    assert tree_hash(tokens) == tree_hash(built["tokens"])
    assert len(machines.sent) > 6 and not any(str(tmp_path) in row for row in machines.sent)


def test_runs_of_the_deployment_make_the_same(
    built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path / "store")
    server = Server(store)
    install(monkeypatch, server)
    corpus = store / "artifacts" / "corpus"
    form = {**SMALL.model_dump(), "executor": "prefect", "shard_groups": 3}
    one, two = place(store, "tokenizer"), place(store, "tokens")
    build_tokenizer(TokenizerParameters.model_validate(form), corpus, one)
    assert len(server.runs) == 3
    build_tokens(TokensParameters(executor="prefect", shard_groups=2), corpus, one.out, two)
    assert len(server.runs) == 5
    assert tree_hash(one.out) == tree_hash(built["tokenizer"])
    assert tree_hash(two.out) == tree_hash(built["tokens"])


@pytest.mark.ray
def test_a_ray_cluster_makes_the_same(built: dict[str, Path], tmp_path: Path) -> None:
    from tasks.corpus.ray_cluster import RayExecutor

    tokenizer, tokens = build(store_of(tmp_path / "store"), RayExecutor(LocalExecutor(2)))
    assert tree_hash(tokenizer) == tree_hash(built["tokenizer"])
    assert tree_hash(tokens) == tree_hash(built["tokens"])


def test_the_parameters_choose_and_are_no_part_of_the_recipe(tmp_path: Path) -> None:
    context = place(tmp_path, "key")
    large = tmp_path / "large"
    large.write_bytes(bytes(3_000_000))
    small = tmp_path / "small"
    small.write_bytes(b"1")
    chosen = executor_of(TokensParameters(workers=3), context, 8, [large])
    assert isinstance(chosen, LocalExecutor) and chosen.workers == 3
    assert isinstance(executor_of(TokensParameters(workers=3), context, 8, [small]), InlineExecutor)
    alone = executor_of(TokensParameters(workers=3), context, 8, [large], reading=True)
    assert isinstance(alone, InlineExecutor)
    form = {"executor": "prefect", "shard_groups": 5, "workers": 2, "ray_address": "ray://there:1"}
    form |= {"silent_minutes": 3, "pending_hours": 2}
    spread = executor_of(TokensParameters.model_validate(form), context, 8, [small])
    assert isinstance(spread, PrefectExecutor) and spread.groups == 5
    assert (spread.silent_seconds, spread.pending_seconds) == (180.0, 7200.0)
    assert (spread.store, spread.folder, spread.form["workers"]) == (tmp_path, context.work, 2)
    assert recipe_parameters(TokensParameters.model_validate(form)) == {}
    tokenizer = TokenizerParameters.model_validate(form)
    assert recipe_parameters(tokenizer) == recipe_parameters(TokenizerParameters())


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    context = place(tmp_path, "key")
    parameters = TokenizerParameters(vocab_size=400, sample_bytes=60_000, executor="ray")
    with pytest.raises(ValueError, match=r"arriero\[ray\]"):
        build_tokenizer(parameters, corpus, context)
