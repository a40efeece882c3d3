"""Whether a model runs on one GPU."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.presets import preset
from tasks.planning.layout import USABLE
from tasks.planning.parameters import PlanParameters
from tasks.planning.serving import ServeReport, largest_batch, plan_serving, serving_bytes
from tasks.planning.tables import markdown, serving_rows

GIB = 2**30


def served(**given: Any) -> ServeReport:
    return plan_serving(PlanParameters(serve=True, **given))


def test_13b_runs_on_one_v100_as_the_paper_says() -> None:
    report = served(preset="13B", gpu="v100")
    half, bytes_ = report.formats["fp16"], report.formats["int8"]
    assert report.fits and half.fits and bytes_.fits
    assert half.weights_gib == pytest.approx(2 * 13_015_864_320 / GIB)
    assert half.largest_batch < bytes_.largest_batch
    # 40 layers x 5,120 values x keys and values x 2 bytes
    assert report.cache_mib_per_token == pytest.approx(40 * 5120 * 2 * 2 / 2**20)
    assert "yes" in serving_rows(report)["Runs on one V100-32GB"]
    assert "13B" in report.preset and "| Weights |" in markdown(report)


def test_a_smaller_v100_needs_int8_and_the_largest_model_two() -> None:
    small = served(preset="13B", gpu="V100-16GB")
    assert [f.fits for f in small.formats.values()] == [False, True]
    assert small.formats["fp16"].tokens_per_second_bound_one_row == 0
    large = served(preset="65B", gpu="v100")
    assert not large.fits
    assert serving_rows(large)["Runs on one V100-32GB"] == ["NO", "NO"]


def test_the_bound_is_bandwidth_over_bytes_read() -> None:
    report = served(preset="7B", gpu="a100")
    read = 2 * (6_738_415_616 - 32_000 * 4096)
    bound = report.formats["fp16"].tokens_per_second_bound_one_row
    assert bound == pytest.approx(2039e9 / read)
    assert report.formats["int8"].tokens_per_second_bound_one_row > bound


def test_a_context_beyond_the_models_is_noted() -> None:
    assert any("made for 2,048" in n for n in served(preset="7B", context=4096).notes)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.sampled_from(["7B", "13B", "Llama-2-70B", "Llama-3.2-1B"]),
    st.booleans(),
    st.integers(1, 4096),
    st.floats(1, 200),
)
def test_the_largest_batch_fits_and_one_row_more_does_not(
    name: str, int8: bool, context: int, gib: float
) -> None:
    shape, available = preset(name), USABLE * gib * GIB
    rows = largest_batch(shape, int8, context, available)
    assert serving_bytes(shape, int8, rows + 1, context) > available
    if rows:
        assert serving_bytes(shape, int8, rows, context) <= available
    assert serving_bytes(shape, int8, rows + 1, context) >= serving_bytes(shape, int8, 1, context)
