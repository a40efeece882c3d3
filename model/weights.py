"""Weights on disk: our own folder, and Hugging Face's, both as safetensors and JSON.

A native folder holds ``config.json`` (a ModelConfig) and ``model.safetensors`` with the names of
`model.llama.Llama`. Every file is written under a temporary name, flushed and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.config import ModelConfig
from model.hf_config import from_hf_config, to_hf_config
from model.hf_tokenizer import tokenizer_config, tokenizer_json
from model.llama import Llama
from model.tokenizer import Tokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000

# Hugging Face name -> ours, where one tensor is one tensor; {} is the number of the layer.
_RENAMED = {
    "model.embed_tokens.weight": "embedding.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight",
}
_RENAMED_IN_LAYER = {
    "input_layernorm.weight": "attention_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.o_proj.weight": "attention.out.weight",
    "mlp.down_proj.weight": "ffn.down.weight",
}
# Ours -> those of Hugging Face that make it up, one below the other.
_PACKED_IN_LAYER = {
    "attention.qkv.weight": (
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
    ),
    "ffn.gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
}


class WeightsError(ValueError):
    """A folder of weights is incomplete, unreadable or of another model."""


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, flush the file, rename it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    _write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _write_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    # "format" is what transformers asks of a file before it reads it.
    _write(path, lambda temporary: save_file(dict(state), temporary, metadata={"format": "pt"}))


def native_state(model: Llama) -> dict[str, Tensor]:
    """The model's tensors on the CPU under our names; a tied output head is left out."""
    state = {name: p.detach().cpu().contiguous() for name, p in model.state_dict().items()}
    if model.config.tied_embeddings:
        del state["output.weight"]
    return state


def to_hf_state(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our names and packing to Hugging Face's. RoPE needs no permutation (see model/llama.py)."""
    hf = {theirs: state[ours] for theirs, ours in _RENAMED.items() if ours in state}
    q, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
    sizes = {
        "attention.qkv.weight": (q, kv, kv),
        "ffn.gate_up.weight": (config.ffn_hidden, config.ffn_hidden),
    }
    for layer in range(config.layers):
        ours_at, theirs_at = f"blocks.{layer}.", f"model.layers.{layer}."
        for theirs, ours in _RENAMED_IN_LAYER.items():
            hf[theirs_at + theirs] = state[ours_at + ours]
        for ours, parts in _PACKED_IN_LAYER.items():
            split = state[ours_at + ours].split(sizes[ours])
            for theirs, part in zip(parts, split, strict=True):
                hf[theirs_at + theirs] = part.clone()
    return hf


def from_hf_state(hf: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Hugging Face's names to ours, the inverse of `to_hf_state`.

    Raises WeightsError listing the names that are missing or unknown. `rotary_emb.inv_freq`, which
    old files carry, and the head of a tied model are left out: both follow from the rest.
    """
    rest = dict(hf)
    missing: list[str] = []

    def take(name: str) -> Tensor:
        if name not in rest:
            missing.append(name)
            return torch.empty(0)
        return rest.pop(name)

    if config.tied_embeddings:
        rest.pop("lm_head.weight", None)
    state = {
        ours: take(theirs)
        for theirs, ours in _RENAMED.items()
        if not (config.tied_embeddings and ours == "output.weight")
    }
    for layer in range(config.layers):
        ours_at, theirs_at = f"blocks.{layer}.", f"model.layers.{layer}."
        for theirs, ours in _RENAMED_IN_LAYER.items():
            state[ours_at + ours] = take(theirs_at + theirs)
        for ours, parts in _PACKED_IN_LAYER.items():
            tensors = [take(theirs_at + theirs) for theirs in parts]
            if len({tensor.shape[1:] for tensor in tensors}) > 1 and not missing:
                raise WeightsError(f"layer {layer}: {', '.join(parts)} differ in width")
            if not missing:
                state[ours_at + ours] = torch.cat(tensors)
    unknown = [name for name in rest if not name.endswith("rotary_emb.inv_freq")]
    if missing or unknown:
        raise WeightsError(f"missing tensors: {missing or 'none'}; unknown: {unknown or 'none'}")
    return state


def save_native(model: Llama, directory: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` into `directory`, which is made if absent."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _write_tensors(directory / WEIGHTS_FILE, native_state(model))
    _write_json(directory / CONFIG_FILE, model.config.model_dump(mode="json"))


def export_hf(
    model: Llama,
    tokenizer_path: str | Path,
    directory: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a folder that transformers' Auto classes load offline.

    Its tokenizer adds BOS and gives the ids of `Tokenizer.encode(text, bos=True)`. Weights are
    rounded to `dtype` (float32 or bfloat16) and cut into files of at most `shard_bytes`.

    Raises TokenizerError for a tokenizer that cannot be expressed there, ValueError for one with
    more ids than the model.
    """
    config = model.config
    tokenizer = Tokenizer(tokenizer_path)
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{tokenizer_path} has {tokenizer.vocab_size} ids, the model's vocabulary "
            f"{config.vocab_size}: export with the tokenizer the model was trained with"
        )
    files = {
        "tokenizer.json": tokenizer_json(tokenizer),
        "tokenizer_config.json": tokenizer_config(tokenizer, config.context),
        "generation_config.json": {
            "bos_token_id": tokenizer.bos_id,
            "eos_token_id": tokenizer.eos_id,
            "do_sample": False,
        },
    }
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: t.to(dtype) for name, t in to_hf_state(native_state(model), config).items()}
    shards = _shards(state, shard_bytes)
    if len(shards) == 1:
        _write_tensors(directory / WEIGHTS_FILE, state)
    else:
        weight_map = {}
        for number, shard in enumerate(shards, start=1):
            name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            _write_tensors(directory / name, shard)
            weight_map.update(dict.fromkeys(shard, name))
        total = sum(t.nbytes for t in state.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        _write_json(directory / INDEX_FILE, index)
    for name, content in files.items():
        _write_json(directory / name, content)
    _write(directory / "tokenizer.model", lambda t: shutil.copyfile(tokenizer.path, t))
    type_name = str(dtype).removeprefix("torch.")
    hf_config = to_hf_config(config, type_name, tokenizer.bos_id, tokenizer.eos_id)
    _write_json(directory / CONFIG_FILE, hf_config)


def _shards(state: Mapping[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """Tensors in order, a new shard whenever the next one would pass `limit` bytes."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in state.items():
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def load_config(directory: str | Path) -> tuple[ModelConfig, bool]:
    """Shape of the model in `directory`, and whether the folder is Hugging Face's."""
    path = Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise WeightsError(f"no {CONFIG_FILE} in {directory}: not a folder of model weights")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        is_hf = "model_type" in fields
        return (from_hf_config(fields) if is_hf else ModelConfig(**fields)), is_hf
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise WeightsError(f"{path} describes no model that can be loaded: {error}") from error


def load_model(
    directory: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Llama:
    """The model of a native or a Hugging Face folder, in evaluation mode.

    Raises WeightsError with the file and what is wrong: absent, cut short, tensors missing,
    unknown or of another shape than config.json says.
    """
    directory = Path(directory)
    config, is_hf = load_config(directory)
    state: dict[str, Tensor] = {}
    for path in _weight_files(directory):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - the handle is no mapping
                    state[name] = file.get_tensor(name).to(device=device, dtype=dtype)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} cannot be read: {error}") from error
    if is_hf:
        state = from_hf_state(state, config)
    with torch.device("meta"):
        model = Llama(config)
    expected = {name: p.shape for name, p in model.named_parameters()}
    problems = [
        f"{name} is {list(state[name].shape)}, config.json says {list(shape)}"
        if name in state
        else f"{name} is missing"
        for name, shape in expected.items()
        if name not in state or state[name].shape != shape
    ]
    problems += [f"{name} is unknown" for name in state if name not in expected]
    if problems:
        raise WeightsError(f"weights in {directory} do not fit: {'; '.join(problems)}")
    if config.tied_embeddings:
        state["output.weight"] = state["embedding.weight"]
    model.load_state_dict(state, assign=True)
    if config.tied_embeddings:
        model.output.weight = model.embedding.weight
    return model.eval()


def _weight_files(directory: Path) -> list[Path]:
    """The one weights file, or the shards an index names (plain names inside the folder only)."""
    single, index = directory / WEIGHTS_FILE, directory / INDEX_FILE
    if single.is_file():
        return [single]
    if not index.is_file():
        raise WeightsError(f"neither {WEIGHTS_FILE} nor {INDEX_FILE} in {directory}")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{index} is no index of shards: {error!r}") from error
    outside = [name for name in names if Path(name).name != name]
    absent = [name for name in names if name not in outside and not (directory / name).is_file()]
    if outside or absent:
        raise WeightsError(f"{index} names files outside the folder {outside} or absent {absent}")
    return [directory / name for name in names]
