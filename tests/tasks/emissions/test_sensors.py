"""GPU counters with a simulated NVML: resets, lost devices, devices without a counter."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.emissions.ledger import build_ledger
from tasks.emissions.parameters import EmissionsParameters
from tasks.emissions.sensors import Nvml


class SimulatedError(Exception):
    """What NVML raises."""


class SimulatedNvml(SimpleNamespace):
    """Two GPUs; ``millijoules[i]`` None = this call fails."""

    NVMLError = SimulatedError

    def __init__(self, millijoules: list[int | None]) -> None:
        super().__init__(millijoules=millijoules)

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.millijoules)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return f"GPU-{handle}".encode()

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "simulated"

    def nvmlDeviceGetPowerManagementLimit(self, handle: int) -> int:
        return 400_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        value = self.millijoules[handle]
        if value is None:
            raise SimulatedError("lost")
        return value


def test_counters_are_relative_and_survive_reset_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimulatedNvml([5_000, 1_000])
    monkeypatch.setitem(sys.modules, "pynvml", device)
    nvml = Nvml()
    assert [g["power_limit_w"] for g in nvml.gpus] == [400, 400]
    device.millijoules = [9_000, 1_500]
    assert nvml.joules() == {"GPU-0": 4.0, "GPU-1": 0.5}
    device.millijoules = [2_000, None]  # one reset to zero, one lost
    assert nvml.joules() == {"GPU-0": 6.0, "GPU-1": 0.5}
    device.millijoules = [3_000, 2_500]
    assert nvml.joules() == {"GPU-0": 7.0, "GPU-1": 1.5}


def test_a_gpu_without_counter_is_listed_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", SimulatedNvml([1_000, None]))
    nvml = Nvml()
    assert nvml.gpus[1]["no_counter"] == "lost"
    assert nvml.joules() == {"GPU-0": 0.0}


@pytest.mark.parametrize(("other", "problems"), [(0, 0), (98_000, 0), (90_000, 1), (110_000, 1)])
def test_disagreeing_sensors_are_a_problem(other: float, problems: int) -> None:
    record: dict[str, Any] = {
        "node_id": "n",
        "boot_id": "b",
        "session_id": "s",
        "seq": 0,
        "boottime_s": 0.0,
        "wall_utc": "2026-01-01T00:00:00+00:00",
        "interval_s": 1.0,
        "joules": {"gpu:GPU-0": 0.0},
        "sensors": {"gpu:GPU-0": "nvml_counter"},
    }
    last = record | {
        "seq": 1,
        "boottime_s": 100.0,
        "joules": {"gpu:GPU-0": 100_000.0},
        "check": {"codecarbon_gpu": other},
    }
    now = {"node_id": "n", "boot_id": "b", "boottime_s": 100.0}
    assert len(build_ledger([record, last], [], now, EmissionsParameters()).problems) == problems
