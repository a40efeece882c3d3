"""Agents on several machines: the texts for Slurm and Kubernetes, and two agents that train."""

from __future__ import annotations

import shlex
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.training.cluster import agents_of, kubernetes, slurm, trainer_command
from tasks.training.engine.config import FAULTS_ALLOWED, ConfigError, EngineConfig
from tasks.training.launch import TrainerFailed, launch
from tests.tasks.training.support import config_values, losses, write_config, write_tokens

ROOT = Path(__file__).resolve().parents[3]
TWO_MACHINES = [sys.executable, str(Path(__file__).with_name("on_two_machines.py"))]
SPREAD: dict[str, Any] = {"world": 2, "nodes": 2, "micro_batch": 4}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("ARRIERO_TRAINER_ENDPOINT", place)
    return place


def configured(tmp_path: Path, **changes: Any) -> EngineConfig:
    return EngineConfig(**config_values(tmp_path, tmp_path, **changes))


def test_committed_texts_are_what_is_rendered() -> None:
    shape: dict[str, Any] = {"nodes": 256, "per_node": 8, "threads": 8}
    shape["config_path"] = "/store/work/run.json"
    assert (ROOT / "deploy/training.slurm").read_text() == slurm(**shape)
    assert (ROOT / "deploy/training-job.yaml").read_text() == kubernetes(**shape)


def test_all_start_the_same_agent(tmp_path: Path, endpoint: str) -> None:
    shape: dict[str, Any] = {
        "nodes": 4,
        "per_node": 2,
        "threads": 3,
        "config_path": "/a b/run.json",
    }
    config = configured(tmp_path, world=8, nodes=4, micro_batch=1)
    here = trainer_command(config, Path("/a b/run.json"), run_id="r")[1:]
    line = next(line for line in slurm(**shape).splitlines() if line.startswith("srun "))
    job = next(d for d in yaml.safe_load_all(kubernetes(**shape)) if d["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]

    def common(words: list[str]) -> list[str]:
        """Without what differs: the meeting point, the run's name, what the environment says."""
        rest = list(words)
        for option in ("--rdzv-endpoint", "--rdzv-id", "--shutdown-timeout"):
            if option in rest:
                at = rest.index(option)
                del rest[at : at + 2]
        return rest

    assert (
        common(shlex.split(line.removesuffix(" || {"))[3:])
        == common(here)
        == common(container["command"][1:])
    )
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 4
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 2}


def test_one_machine_needs_no_settings(tmp_path: Path) -> None:
    config = configured(tmp_path, world=2, micro_batch=4)
    assert agents_of(config) == []
    assert "--standalone" in trainer_command(config, tmp_path / "run.json", run_id="r")


def test_several_machines_without_a_way_to_reach_them_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path, **SPREAD)
    with pytest.raises(ConfigError, match="set ARRIERO_TRAINER_LAUNCH"):
        agents_of(config)
    with pytest.raises(ConfigError, match="set ARRIERO_TRAINER_ENDPOINT"):
        trainer_command(config, tmp_path / "run.json", run_id="r")
    monkeypatch.setenv("ARRIERO_TRAINER_LAUNCH", "srun --nodes={nodes} --gpus={processes} 'a b'")
    assert agents_of(config) == ["srun", "--nodes=2", "--gpus=1", "a b"]
    with pytest.raises(ValueError, match="world 3 is no multiple of nodes 2"):
        configured(tmp_path, world=3, nodes=2, micro_batch=1, global_batch=3)


@pytest.mark.slow
@pytest.mark.usefixtures("endpoint")
def test_two_agents_train_as_two_processes_of_one_do(tokens: Path, tmp_path: Path) -> None:
    curves = []
    for name, changes, agents in (("one", {"nodes": 1}, []), ("two", {}, TWO_MACHINES)):
        work = tmp_path / name
        config = write_config(tokens, work, **{**SPREAD, **changes})
        launch(config, log_path=work / "log", agents=agents, poll_seconds=0.1)
        curves.append((losses(work), (work / "final/model.safetensors").read_bytes()))
    assert curves[0] == curves[1]


@pytest.mark.slow
@pytest.mark.usefixtures("endpoint")
def test_rank_that_dies_on_one_machine_ends_the_run_which_goes_on(
    tokens: Path, tmp_path: Path
) -> None:
    work, whole = tmp_path / "a", tmp_path / "whole"
    fault = {"kill_at_step": 6, "kill_rank": 1}
    config = write_config(tokens, work, **SPREAD, fault=fault)
    with pytest.raises(TrainerFailed):
        launch(config, log_path=work / "log", agents=TWO_MACHINES,
               environment={FAULTS_ALLOWED: "1"})  # fmt: skip
    for folder in (work, whole):
        config = write_config(tokens, folder, **SPREAD)
        launch(config, log_path=folder / "log", agents=TWO_MACHINES)
    name = "final/model.safetensors"
    assert (work / name).read_bytes() == (whole / name).read_bytes()
