"""Folders of weights: nothing changes on the way, nothing broken is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.hf_config import from_hf_config, to_hf_config
from model.llama import Llama
from model.presets import PRESETS
from model.tokenizer import Tokenizer, TokenizerError
from model.weights import (
    WeightsError,
    export_hf,
    from_hf_state,
    load_model,
    native_state,
    save_native,
    to_hf_state,
)

SHAPES = [
    {},
    {"kv_heads": 2},
    {"tied_embeddings": True},
    {"head_dim": 16, "rope_theta": 5e5, "rope_scaling": {"factor": 32.0}},
]


def parameters(model: Llama) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters())


def assert_same(a: Llama, b: Llama) -> None:
    assert a.config == b.config
    ours, theirs = parameters(a), parameters(b)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("shape", SHAPES)
def test_native_round_trip(make_model: Callable[..., Llama], tmp_path: Path, shape: dict) -> None:
    model = make_model(**shape)
    save_native(model, tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    loaded = load_model(tmp_path / "a")
    assert_same(model, loaded)
    assert all(p.requires_grad for p in loaded.parameters())
    assert (loaded.output.weight is loaded.embedding.weight) == model.config.tied_embeddings
    save_native(loaded, tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_hf_state_round_trip(make_model: Callable[..., Llama], shape: dict) -> None:
    model = make_model(**shape)
    state = native_state(model)
    back = from_hf_state(to_hf_state(state, model.config), model.config)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize("name", PRESETS)
def test_hf_config_round_trip(name: str) -> None:
    fields = json.loads(json.dumps(to_hf_config(PRESETS[name], "float32", 1, 2)))
    assert from_hf_config(fields) == PRESETS[name]
    del fields["rope_parameters"]  # as transformers 4 wrote it
    assert from_hf_config(fields) == PRESETS[name]


def test_exported_folder_loads_natively(
    make_model: Callable[..., Llama], tokenizer_path: Path, tmp_path: Path
) -> None:
    model = make_model(vocab_size=512, kv_heads=2)
    export_hf(model, tokenizer_path, tmp_path / "one")
    assert_same(model, load_model(tmp_path / "one"))
    assert (tmp_path / "one/tokenizer.model").read_bytes() == tokenizer_path.read_bytes()

    export_hf(model, tokenizer_path, tmp_path / "many", shard_bytes=40_000)
    shards = sorted((tmp_path / "many").glob("model-*.safetensors"))
    assert len(shards) > 2 and not (tmp_path / "many/model.safetensors").exists()
    index = json.loads((tmp_path / "many/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * model.config.parameters
    assert_same(model, load_model(tmp_path / "many"))

    export_hf(model, tokenizer_path, tmp_path / "half", dtype=torch.bfloat16)
    assert json.loads((tmp_path / "half/config.json").read_text())["dtype"] == "bfloat16"
    stored = load_file(tmp_path / "half/model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    half = load_model(tmp_path / "half", dtype=torch.bfloat16)
    assert torch.equal(half.output.weight, model.output.weight.bfloat16())


def test_export_again_gives_the_same_bytes(
    make_model: Callable[..., Llama], tokenizer_path: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        export_hf(make_model(vocab_size=512), tokenizer_path, tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_export_needs_no_hugging_face_library(tokenizer_path: Path, tmp_path: Path) -> None:
    program = """
import sys
for name in ("transformers", "tokenizers", "google.protobuf"):
    sys.modules[name] = None  # importing it now raises ImportError
from model.llama import Llama
from model.presets import preset
from model.weights import export_hf
export_hf(Llama(preset("nano")), sys.argv[1], sys.argv[2])
"""
    command = [sys.executable, "-c", program, str(tokenizer_path), str(tmp_path / "out")]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "out/tokenizer.json").read_text())["model"]["merges"]) > 100


def test_export_refuses_what_it_cannot_express(
    make_model: Callable[..., Llama],
    tokenizer_path: Path,
    train_sentencepiece: Callable[..., Path],
    tmp_path: Path,
) -> None:
    ids = Tokenizer(tokenizer_path).vocab_size
    with pytest.raises(ValueError, match=f"has {ids} ids, the model's vocabulary 97"):
        export_hf(make_model(), tokenizer_path, tmp_path / "out")
    model = make_model(vocab_size=1000)
    for number, (settings, complaint) in enumerate(
        [
            ({"model_type": "unigram"}, "no BPE ranks"),
            ({"user_defined_symbols": ["<|x|>"]}, "no BPE ranks"),
            ({"byte_fallback": False}, "no byte fallback"),
            ({"normalization_rule_name": "nmt_nfkc"}, "changes text"),
            ({"add_dummy_prefix": False}, "changes text"),
            ({"remove_extra_whitespaces": True}, "changes text"),
        ]
    ):
        path = train_sentencepiece(tmp_path / f"{number}.model", vocab_size=400, **settings)
        with pytest.raises(TokenizerError, match=complaint):
            export_hf(model, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_broken_folders(make_model: Callable[..., Llama], tmp_path: Path) -> None:
    model = make_model()
    folder = tmp_path / "model"
    weights, config = folder / "model.safetensors", folder / "config.json"
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_model(folder)
    save_native(model, folder)
    good = weights.read_bytes()

    weights.write_bytes(good[: len(good) // 2])
    with pytest.raises(WeightsError, match=r"model\.safetensors cannot be read"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(WeightsError, match=r"neither model\.safetensors nor"):
        load_model(folder)

    state = native_state(model)
    state["extra"] = state.pop("norm.weight")
    state["output.weight"] = torch.zeros(97, 31)
    save_file(state, weights)
    with pytest.raises(WeightsError) as error:
        load_model(folder)
    for part in (
        "norm.weight is missing",
        "extra is unknown",
        "[97, 31], config.json says [97, 32",
    ):
        assert part in str(error.value)

    weights.write_bytes(good)
    config.write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json describes no model"):
        load_model(folder)
    config.write_text("[]")
    with pytest.raises(WeightsError, match=r"config\.json describes no model"):
        load_model(folder)


def test_foreign_hf_folders(
    make_model: Callable[..., Llama], tokenizer_path: Path, tmp_path: Path
) -> None:
    fields = to_hf_config(PRESETS["nano"], "float32")
    wrong = {**fields, "model_type": "gpt2", "attention_bias": True, "hidden_act": "gelu"}
    wrong["rope_parameters"] = {"rope_type": "yarn", "rope_theta": 1e4}
    with pytest.raises(ValueError, match=r"only 'llama'.*must be 'silu'.*attention_bias.*'yarn'"):
        from_hf_config(wrong)

    folder = tmp_path / "hf"
    model = make_model(vocab_size=512)
    export_hf(model, tokenizer_path, folder)
    state = load_file(folder / "model.safetensors")
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)  # of old files
    save_file(state, folder / "model.safetensors")
    assert_same(load_model(folder), model)
    del state["model.layers.1.self_attn.q_proj.weight"]
    save_file({**state, "model.bias": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(
        WeightsError, match=r"layers\.1\.self_attn\.q_proj.*unknown: .'model\.bias'"
    ):
        load_model(folder)

    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../secret", "b": "gone.safetensors"}}))
    with pytest.raises(WeightsError, match=r"outside the folder .*secret.*absent .*gone"):
        load_model(folder)
