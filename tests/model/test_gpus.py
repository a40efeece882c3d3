"""Names of GPUs."""

from __future__ import annotations

import pytest

from model.gpus import GPUS, gpu_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a100", "A100-80GB"),
        ("A100-40gb", "A100-40GB"),
        ("v100", "V100-32GB"),
        ("V100 16GB", "V100-16GB"),
        ("h200", "H200-141GB"),
        ("rtx 4090", "RTX4090-24GB"),
        *((name, name) for name in GPUS),
    ],
)
def test_names_without_memory_mean_the_largest(given: str, name: str) -> None:
    assert gpu_name(given) == name


def test_an_unknown_gpu_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="unknown GPU 'B9000'") as refused:
        gpu_name("B9000")
    assert all(name in str(refused.value) for name in GPUS)


def test_every_gpu_names_its_data_sheet_and_old_ones_have_no_bf16() -> None:
    assert all(gpu.source and gpu.peak > gpu.peak_fp32 for gpu in GPUS.values())
    assert {name for name, gpu in GPUS.items() if not gpu.bf16} == {
        "V100-32GB",
        "V100-16GB",
        "T4-16GB",
    }
