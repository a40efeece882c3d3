"""A run that cannot fit is refused before it starts; one that fits never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.states import Failed

from model.memory import GIB
from model.presets import preset
from tasks.context import StageContext
from tasks.training import build, memory
from tasks.training.engine.config import ConfigError, EngineConfig
from tasks.training.memory import NotEnoughMemory, Room, check_memory, needed, snapshot
from tasks.training.stage import worth_retrying
from tests.tasks.training.support import config_values


def config(tmp_path: Path, name: str = "7B", **changes: Any) -> EngineConfig:
    shape = preset(name).model_dump()
    values = config_values(tmp_path, tmp_path, model=shape, global_batch=8, micro_batch=8)
    return EngineConfig.model_validate({**values, "context": 256, **changes})


def room(total: float, free: float) -> Room:
    return Room("this machine", int(total * GIB), int(free * GIB))


def test_a_model_larger_than_the_machine_is_refused_with_figures_and_advice(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_memory(config(tmp_path), main=lambda: room(23.5, 22.5))
    said = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "needs about 1" in said and "has 23.5 GiB, 22.5 GiB of it free" in said
    assert "weights 25.1, gradients 25.1, optimizer 50.2" in said
    assert "a smaller model than 6,738,415,616 parameters" in said
    check_memory(config(tmp_path), main=lambda: room(500, 400))


def test_memory_that_others_hold_is_waited_for_by_a_retry(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        check_memory(config(tmp_path), main=lambda: room(500, 20))
    assert worth_retrying(None, None, Failed(data=caught.value))
    assert not worth_retrying(None, None, Failed(data=ConfigError("x")))


def test_every_process_counts_on_a_cpu_and_each_gpu_has_its_own(tmp_path: Path) -> None:
    two = config(tmp_path, world=2, micro_batch=4)
    once = needed(two).total / GIB
    copies = snapshot(two) / GIB  # of a checkpoint: half the state in each process
    assert copies == pytest.approx(6 * two.model.parameters / GIB)
    whole = 2 * (once + copies)
    check_memory(two, main=lambda: room(whole + 0.01, whole + 0.01))
    with pytest.raises(ConfigError, match="copy for checkpoints"):
        check_memory(two, main=lambda: room(whole - 0.01, whole - 0.01))
    with pytest.raises(ConfigError, match="fewer processes than 2"):
        check_memory(two, main=lambda: room(1.5 * once, 1.5 * once))
    gpus = two.model_copy(update={"device": "cuda"})
    rooms = [room(1.1 * once, 1.1 * once), room(0.9 * once, 0.9 * once)]
    check_memory(gpus, cuda=lambda world: rooms[:1])
    with pytest.raises(ConfigError, match="needs about"):
        check_memory(gpus, cuda=lambda world: rooms[:world])
    check_memory(gpus, cuda=lambda world: [])  # no GPU at all: the trainer says so


def test_activations_that_do_not_fit_are_named_first(tmp_path: Path) -> None:
    wide = config(tmp_path, name="nano", global_batch=4096, micro_batch=4096)
    with pytest.raises(ConfigError, match="Choose a micro_batch below 4096, or a context below"):
        check_memory(wide, main=lambda: room(8, 8))


def test_nano_fits_a_laptop_and_this_machine(tmp_path: Path) -> None:
    nano = config(tmp_path, name="nano", global_batch=16, micro_batch=16)
    check_memory(nano, main=lambda: room(4, 1))
    check_memory(nano)


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory.main_memory()
    monkeypatch.setattr(memory, "CGROUP_LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory.main_memory().total == memory.main_memory().free == 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.main_memory().total >= whole.total


def test_torch_is_asked_for_gpus_in_a_process_of_its_own() -> None:
    import torch

    assert len(memory.cuda_memory(8)) == min(8, torch.cuda.device_count())


def test_the_stage_refuses_before_the_trainer_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(build, "launch", lambda *a, **o: started.append(a))
    monkeypatch.setattr(memory, "main_memory", lambda: room(23.5, 22.5))
    context = StageContext(out=tmp_path, work=tmp_path)
    with pytest.raises(ConfigError, match="the run needs about"):
        build.train(config(tmp_path), tmp_path, context, [])
    assert started == []
