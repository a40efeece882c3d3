"""Named shapes: a CPU demo, small sizes, the paper's four models, and the later LLaMA families."""

from __future__ import annotations

import difflib
import re

from model.config import ModelConfig, RopeScaling, swiglu_hidden

LLAMA1_VOCABULARY = 32_000
LLAMA3_VOCABULARY = 128_256


def _small(dim: int, layers: int, heads: int, context: int, *, tied: bool = True) -> ModelConfig:
    """Sizes below the paper's. Tied, since at these widths two vocabulary matrices would be most
    of the model; `tied=False` is the paper's form."""
    return ModelConfig(
        dim=dim,
        layers=layers,
        heads=heads,
        vocab_size=LLAMA1_VOCABULARY,
        context=context,
        norm_eps=1e-6,
        tied_embeddings=tied,
    )  # type: ignore[call-arg]


def _llama1(dim: int, layers: int, heads: int, norm_eps: float = 1e-6) -> ModelConfig:
    """Paper, Table 2; context, vocabulary and epsilon from the released code and params.json."""
    return ModelConfig(
        dim=dim,
        layers=layers,
        heads=heads,
        vocab_size=LLAMA1_VOCABULARY,
        context=2048,
        norm_eps=norm_eps,
    )  # type: ignore[call-arg]


def _later(
    dim: int,
    layers: int,
    heads: int,
    *,
    kv_heads: int,
    multiplier: float | None,
    multiple_of: int,
    vocab_size: int,
    rope_theta: float,
    context: int,
    tied: bool = False,
    rope_factor: float | None = None,
) -> ModelConfig:
    """Llama 2 and 3: grouped queries, a multiplier on the SwiGLU width, epsilon 1e-5."""
    return ModelConfig(
        dim=dim,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        ffn_hidden=swiglu_hidden(dim, multiple_of, multiplier),
        vocab_size=vocab_size,
        context=context,
        rope_theta=rope_theta,
        norm_eps=1e-5,
        tied_embeddings=tied,
        rope_scaling=None
        if rope_factor is None
        else RopeScaling(factor=rope_factor, low_freq=1.0, high_freq=4.0, original_context=8192),
    )  # type: ignore[call-arg]


def _llama2(
    dim: int,
    layers: int,
    heads: int,
    kv_heads: int,
    multiplier: float | None = None,
    multiple_of: int = 256,
) -> ModelConfig:
    return _later(
        dim,
        layers,
        heads,
        kv_heads=kv_heads,
        multiplier=multiplier,
        multiple_of=multiple_of,
        vocab_size=LLAMA1_VOCABULARY,
        rope_theta=10_000.0,
        context=4096,
    )


def _llama3(
    dim: int,
    layers: int,
    heads: int,
    multiplier: float,
    multiple_of: int,
    *,
    context: int = 131_072,
    rope_factor: float | None = None,
    tied: bool = False,
) -> ModelConfig:
    return _later(
        dim,
        layers,
        heads,
        kv_heads=8,
        multiplier=multiplier,
        multiple_of=multiple_of,
        vocab_size=LLAMA3_VOCABULARY,
        rope_theta=500_000.0,
        context=context,
        tied=tied,
        rope_factor=rope_factor,
    )


PRESETS: dict[str, ModelConfig] = {
    # 3.3M parameters: trains on two CPU cores in minutes, with every part of the big ones.
    "nano": ModelConfig(
        dim=192,
        layers=4,
        heads=6,
        ffn_hidden=swiglu_hidden(192, multiple_of=64),
        vocab_size=4096,
        context=256,
        norm_eps=1e-6,
    ),  # type: ignore[call-arg]
    "8M": _small(192, 4, 6, context=512),
    "25M": _small(384, 7, 6, context=1024),
    "110M": _small(768, 12, 12, context=1024),
    "1B": _small(2048, 18, 16, context=2048, tied=False),
    "7B": _llama1(4096, 32, 32),
    "13B": _llama1(5120, 40, 40),
    "33B": _llama1(6656, 60, 52),
    # 1e-5 in most copies of the released params.json of this size; the paper gives no epsilon.
    "65B": _llama1(8192, 80, 64, norm_eps=1e-5),
    "Llama-2-7B": _llama2(4096, 32, 32, kv_heads=32),
    "Llama-2-13B": _llama2(5120, 40, 40, kv_heads=40),
    "Llama-2-70B": _llama2(8192, 80, 64, kv_heads=8, multiplier=1.3, multiple_of=4096),
    "Llama-3-8B": _llama3(4096, 32, 32, 1.3, 1024, context=8192),
    "Llama-3-70B": _llama3(8192, 80, 64, 1.3, 4096, context=8192),
    "Llama-3.1-8B": _llama3(4096, 32, 32, 1.3, 1024, rope_factor=8.0),
    "Llama-3.1-70B": _llama3(8192, 80, 64, 1.3, 4096, rope_factor=8.0),
    "Llama-3.1-405B": _llama3(16384, 126, 128, 1.2, 4096, rope_factor=8.0),
    "Llama-3.2-1B": _llama3(2048, 16, 32, 1.5, 256, rope_factor=32.0, tied=True),
    "Llama-3.2-3B": _llama3(3072, 28, 24, 1.0, 256, rope_factor=32.0, tied=True),
}


def _canonical(name: str) -> str:
    """Lower case without separators; ``LLaMA-7B`` and ``llama1-7b`` are the paper's ``7B``."""
    plain = re.sub(r"[\s_-]+", "", name.lower())
    return re.sub(r"^llama1?(?=(7|13|33|65)b$)", "", plain)


_BY_CANONICAL = {_canonical(name): name for name in PRESETS}


def preset_name(name: str) -> str:
    """The name as `PRESETS` spells it, for any case and separators.

    Raises ValueError listing all names, the close ones first, when there is no such preset.
    """
    canonical = _canonical(name)
    if canonical in _BY_CANONICAL:
        return _BY_CANONICAL[canonical]
    # "8B" is no near spelling of "llama3.1-8b", but it is what a reader of model cards types.
    close = [known for known in _BY_CANONICAL if canonical and known.endswith(canonical)]
    close = close or difflib.get_close_matches(canonical, _BY_CANONICAL, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(_BY_CANONICAL[c] for c in close)}?" if close else ""
    raise ValueError(f"unknown model preset {name!r}.{hint} Known presets: {', '.join(PRESETS)}")


def preset(name: str) -> ModelConfig:
    """Shape of a named preset; see `preset_name` for spelling and errors."""
    return PRESETS[preset_name(name)]
