"""GPUs by their makers' data sheets: peaks, memory, bandwidth, power.

Peaks are dense (without sparsity), of the tensor cores with fp32 accumulation for 16-bit formats,
and of the plain units for fp32. Nothing here is measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """peak: FLOP/s in bf16 (fp16 where `bf16` is false). peak_fp32: FLOP/s. tdp: W. memory_gib:
    nominal. bandwidth: bytes/s. source: the data sheet."""

    peak: float
    peak_fp32: float
    tdp: float
    memory_gib: float
    bandwidth: float
    source: str
    bf16: bool = True


_A100, _V100 = "NVIDIA A100 data sheet, SXM4", "NVIDIA V100 data sheet, SXM2"
GPUS = {
    "A100-80GB": Gpu(312e12, 19.5e12, 400, 80, 2039e9, _A100),
    "A100-40GB": Gpu(312e12, 19.5e12, 400, 40, 1555e9, _A100),
    "H100-80GB": Gpu(989e12, 67e12, 700, 80, 3350e9, "NVIDIA H100 data sheet, SXM5"),
    "H200-141GB": Gpu(989e12, 67e12, 700, 141, 4800e9, "NVIDIA H200 data sheet, SXM5"),
    "L40S-48GB": Gpu(362e12, 91.6e12, 350, 48, 864e9, "NVIDIA L40S data sheet"),
    "RTX4090-24GB": Gpu(165.2e12, 82.6e12, 450, 24, 1008e9, "NVIDIA Ada architecture paper"),
    "V100-32GB": Gpu(125e12, 15.7e12, 300, 32, 900e9, _V100, bf16=False),
    "V100-16GB": Gpu(125e12, 15.7e12, 300, 16, 900e9, _V100, bf16=False),
    "T4-16GB": Gpu(65e12, 8.1e12, 70, 16, 320e9, "NVIDIA T4 data sheet", bf16=False),
}


def _canonical(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())


_BY_CANONICAL = {_canonical(name): name for name in GPUS}


def gpu_name(name: str) -> str:
    """The name as `GPUS` spells it; without its memory (a100, v100) the card with most of it.

    Raises ValueError that lists the known names.
    """
    canonical = _canonical(name)
    if canonical in _BY_CANONICAL:
        return _BY_CANONICAL[canonical]
    family = [known for known in GPUS if _canonical(known.split("-")[0]) == canonical]
    if not family:
        raise ValueError(f"unknown GPU {name!r}; known: {', '.join(GPUS)}")
    return max(family, key=lambda known: GPUS[known].memory_gib)
