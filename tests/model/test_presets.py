"""Parameter counts against paper.md sections 11 and 12, and how names are found."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from model.config import ModelConfig, RopeScaling, swiglu_hidden
from model.flops import parameter_counts
from model.llama import Llama
from model.presets import PRESETS, preset, preset_name

PUBLISHED = {
    "7B": 6_738_415_616,
    "13B": 13_015_864_320,
    "33B": 32_528_943_616,
    "65B": 65_285_660_672,
    "Llama-2-7B": 6_738_415_616,
    "Llama-2-13B": 13_015_864_320,
    "Llama-2-70B": 68_976_648_192,
    "Llama-3-8B": 8_030_261_248,
    "Llama-3-70B": 70_553_706_496,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-70B": 70_553_706_496,
    "Llama-3.1-405B": 405_853_388_800,
    "Llama-3.2-1B": 1_235_814_400,
    "Llama-3.2-3B": 3_212_749_824,
}
OURS = {"nano", "8M", "25M", "110M", "1B"}


def test_every_preset_is_counted() -> None:
    assert set(PRESETS) == set(PUBLISHED) | OURS


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_on_meta_device(name: str) -> None:
    config = PRESETS[name]
    with torch.device("meta"):
        model = Llama(config)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == config.parameters == parameter_counts(config).total
    assert counted == PUBLISHED.get(name, counted)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("nano", 2e6, 4e6),
        ("8M", 7.5e6, 8.5e6),
        ("25M", 24e6, 26e6),
        ("110M", 105e6, 115e6),
        ("1B", 0.95e9, 1.3e9),
    ],
)
def test_own_sizes_are_what_they_are_called(name: str, low: float, high: float) -> None:
    assert low <= PRESETS[name].parameters <= high
    assert PRESETS[name].head_dim % 8 == 0


def test_released_shapes() -> None:
    assert [preset(n).norm_eps for n in ("7B", "13B", "33B", "65B")] == [1e-6, 1e-6, 1e-6, 1e-5]
    assert [preset(n).ffn_hidden for n in ("7B", "13B", "33B", "65B")] == [
        11008,
        13824,
        17920,
        22016,
    ]
    assert preset("Llama-3.1-8B").rope_scaling == RopeScaling(factor=8.0)
    assert preset("Llama-3.2-3B").rope_scaling == RopeScaling(factor=32.0)
    assert preset("Llama-3-8B").rope_scaling is None
    assert (preset("Llama-3.2-1B").head_dim, preset("Llama-3.2-3B").head_dim) == (64, 128)
    assert preset("Llama-2-70B").kv_heads == 8 and preset("Llama-2-13B").kv_heads == 40


def test_swiglu_width_is_two_thirds() -> None:
    # (3/2)4d, as some copies of the paper read, would make 7B a model of 12 billion.
    assert swiglu_hidden(4096) == 11008
    assert swiglu_hidden(8192, 4096, 1.3) == 28672
    assert swiglu_hidden(16384, 4096, 1.2) == 53248


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("NANO", "nano"),
        ("7b", "7B"),
        ("LLaMA-7B", "7B"),
        ("llama1-65b", "65B"),
        ("llama_3.1_8b", "Llama-3.1-8B"),
        ("Llama2 70B", "Llama-2-70B"),
    ],
)
def test_names_in_any_case(spelled: str, name: str) -> None:
    assert preset_name(spelled) == name
    assert preset(spelled) is PRESETS[name]


@pytest.mark.parametrize(("wrong", "hint"), [("nanno", "nano"), ("8B", "Llama-3-8B or Llama-3.1")])
def test_unknown_name_lists_close_ones_and_all(wrong: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong}.*Did you mean {hint}.*Known presets: nano, 8M"):
        preset(wrong)


def test_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="Known presets"):
        preset("")


def test_config_reports_all_problems_at_once() -> None:
    with pytest.raises(
        ValidationError, match=r"multiple of kv_heads .3.; head_dim .7. must be even"
    ):
        ModelConfig.model_validate(
            {
                "dim": 64,
                "layers": 1,
                "heads": 4,
                "kv_heads": 3,
                "head_dim": 7,
                "vocab_size": 10,
                "context": 8,
            }
        )
    with pytest.raises(ValidationError, match="above low_freq"):
        RopeScaling(low_freq=4.0, high_freq=4.0)
    with pytest.raises(ValidationError, match="Extra inputs"):
        ModelConfig.model_validate({**PRESETS["nano"].model_dump(), "dropout": 0.1})


def test_config_survives_json() -> None:
    config = PRESETS["Llama-3.2-1B"]
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
