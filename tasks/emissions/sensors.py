"""Sensors of the node meter: CodeCarbon in the configuration that survives, NVML beside it.

CodeCarbon (3.3) is set up so that it opens no socket, writes no file and reads no configuration
but ours; its PUE is 1 because PUE is applied by the ledger, once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.emissions.parameters import PAPER_INTENSITY

JOULES_PER_KWH = 3.6e6
# Names of ways to know a device's energy that are readings, not models.
MEASURED = frozenset({"nvml_counter", "rapl", "codecarbon_gpu"})

log = logging.getLogger("arriero.emissions")


class SensorError(RuntimeError):
    """The sensor cannot measure this machine; says why."""


def clean_environment(empty: Path) -> None:
    """Keep everything away that silently changes or breaks CodeCarbon. Call before its import.

    ``CODECARBON_*`` variables and two configuration files override arguments; ``SLURM_JOB_ID``
    without ``scontrol`` (any container) makes it track nothing without a word.
    """
    for name in [n for n in os.environ if n.upper().startswith("CODECARBON_")]:
        del os.environ[name]
    os.environ.pop("SLURM_JOB_ID", None)
    os.environ["CODECARBON_LOG_LEVEL"] = "critical"
    empty.mkdir(parents=True, exist_ok=True)
    os.environ["HOME"] = str(empty)
    os.chdir(empty)


class Nvml:
    """Cumulative energy counters of the node's NVIDIA GPUs, by UUID. Empty without NVML.

    CodeCarbon counts no GPU when ``nvidia-smi`` is not in PATH; the counters are read here too.
    """

    def __init__(self) -> None:
        self.gpus: list[dict[str, Any]] = []
        self._handles: dict[str, Any] = {}
        self._first: dict[str, int] = {}
        self._done: dict[str, float] = {}
        self._last: dict[str, int] = {}
        import pynvml

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            log.info("no NVML: %s", error)
            return
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
            facts: dict[str, Any] = {
                "index": index,
                "uuid": uuid,
                "name": _text(pynvml.nvmlDeviceGetName(handle)),
            }
            try:
                limit = pynvml.nvmlDeviceGetPowerManagementLimit(handle)
                facts["power_limit_w"] = limit / 1000
                self._last[uuid] = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            except pynvml.NVMLError as error:  # before Volta: no counter; MIG slices: neither
                facts["no_counter"] = str(error)
            else:
                self._handles[uuid], self._done[uuid] = handle, 0.0
            self.gpus.append(facts)

    def joules(self) -> dict[str, float]:
        """Joules per GPU since construction; a counter that was reset goes on from there."""
        for uuid, handle in self._handles.items():
            try:
                now = self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle)  # mJ
            except self._nvml.NVMLError as error:
                log.warning("GPU %s cannot be read: %s", uuid, error)
                continue
            delta = now - self._last[uuid]
            self._done[uuid] += (delta if delta >= 0 else now) / 1000
            self._last[uuid] = now
        return dict(self._done)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class CodeCarbonSensor:
    """One CodeCarbon session; calls ``on_reading(joules, watts)`` at every interval.

    joules: cumulative since :meth:`start`, by device: ``cpu``, ``ram`` and one entry per GPU
        (``gpu:<uuid>`` by NVML, else ``gpu`` by CodeCarbon).
    """

    def __init__(self, interval: float, on_reading: Callable[[dict[str, float]], None]) -> None:
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.output_methods.base_output import BaseOutput

        self._nvml = Nvml()
        self._on_reading = on_reading
        self.check: dict[str, float] = {}

        class Handler(BaseOutput):
            """Passes every total on. Our callback holds a lock and never raises."""

            def out(handler, total: Any, delta: Any) -> None:
                self._reading(total)

            def live_out(handler, total: Any, delta: Any) -> None:
                self._reading(total)

        self._tracker = OfflineEmissionsTracker(
            country_iso_code="USA",
            force_carbon_intensity_g_co2e_kwh=1000 * PAPER_INTENSITY,
            pue=1.0,
            tracking_mode="machine",
            measure_power_secs=interval,
            api_call_interval=1,
            output_methods=[],
            output_handlers=[Handler()],
            # Integers, never UUIDs: a UUID is counted as 0 J.
            gpu_ids=[gpu["index"] for gpu in self._nvml.gpus] or None,
            allow_multiple_runs=True,
            log_level="critical",
        )
        if not hasattr(self._tracker, "_start_time"):
            raise SensorError("CodeCarbon built half an object (a bad argument fails silently)")

    def start(self) -> None:
        """Start measuring; the first reading is delivered before this returns.

        Raises:
            SensorError: CodeCarbon refused silently, as it does on any error inside.
        """
        self._tracker.start()
        if not self._tracker._start_time or not self._tracker._hardware:
            raise SensorError("CodeCarbon did not start: no hardware found")
        factor = self._tracker.force_carbon_intensity_g_co2e_kwh
        if factor != 1000 * PAPER_INTENSITY:
            raise SensorError(f"CodeCarbon uses {factor} g/kWh although 385 was forced")

    def stop(self) -> None:
        """Take the last reading and end the session."""
        if self._tracker.stop() is None:
            raise SensorError("CodeCarbon lost the end of its session (stop() gave None)")

    def hardware(self) -> dict[str, Any]:
        """Processor, memory and GPUs, once per session."""
        found = self._tracker.get_detected_hardware()
        return {
            "cpu_model": found["cpu_model"],
            "cpu_count": found["cpu_count"],
            "ram_gb": found["ram_total_size"],
            "gpus": self._nvml.gpus,
            "codecarbon_gpus": found["gpu_count"] or 0,
        }

    def sensors(self) -> dict[str, str]:
        """How each device's energy is known: rapl, nvml_counter, tdp_model, constant, ..."""
        names = {f"gpu:{gpu['uuid']}": "nvml_counter" for gpu in self._counted()}
        for hardware in self._tracker._hardware:
            kind = type(hardware).__name__
            if kind == "CPU":
                mode = str(getattr(hardware, "_mode", "unknown"))
                names["cpu"] = {"intel_rapl": "rapl", "cpu_load": "tdp_model"}.get(mode, mode)
            elif kind == "RAM":
                names["ram"] = "constant"
            elif kind == "GPU" and not self._counted():
                names["gpu"] = "codecarbon_gpu"
            else:
                names.setdefault(kind.lower(), "unknown")
        return names

    def _counted(self) -> list[Mapping[str, Any]]:
        return [gpu for gpu in self._nvml.gpus if "no_counter" not in gpu]

    def _reading(self, total: Any) -> None:
        joules = {
            "cpu": total.cpu_energy * JOULES_PER_KWH,
            "ram": total.ram_energy * JOULES_PER_KWH,
        }
        own = self._nvml.joules()
        if own:
            joules |= {f"gpu:{uuid}": value for uuid, value in own.items()}
            # The second opinion on the same devices; never added.
            self.check = {"codecarbon_gpu": total.gpu_energy * JOULES_PER_KWH}
        elif total.gpu_energy:
            joules["gpu"] = total.gpu_energy * JOULES_PER_KWH
        self._on_reading(joules)
