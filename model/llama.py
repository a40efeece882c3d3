"""The LLaMA decoder: pre-normalised blocks of rotary attention and SwiGLU (paper, section 2.2).

Shape suffixes of tensors: B batch, T tokens of this call, S key/value slots, D model width,
H query heads, K key/value heads, N both, E head width, F SwiGLU width, V vocabulary.

RoPE turns the pair (i, i + E/2), the half-split form of Hugging Face, and not the adjacent pairs
(2i, 2i + 1) of Meta's code: weights then go to and from that format by renaming alone, and the
rotation reads two contiguous halves. Seen from random weights the two forms are the same model.

Query, key and value projections are one matrix, and so are SwiGLU's gate and up projections:
fewer, larger matrix products. `model/weights.py` splits them for the Hugging Face format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

from model.cache import KVCache
from model.config import ModelConfig


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is: for what must not be rounded to 16 bits."""
    return x if x.dtype == torch.float64 else x.float()


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension; the division in float32 or wider."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x32_BTD = wide(x_BTD)
        scale_BT1 = torch.rsqrt(x32_BTD.pow(2).mean(-1, keepdim=True) + self.eps)
        return (x32_BTD * scale_BT1).type_as(x_BTD) * self.weight


def rope_frequencies(config: ModelConfig, device: torch.device) -> Tensor:
    """Radians per position of each pair, float32 [head_dim / 2].

    With `rope_scaling`, Llama 3.1's rule: wavelengths beyond original_context / low_freq are
    stretched by `factor`, those below original_context / high_freq are kept, between them the two
    are mixed linearly in the number of turns (paper.md section 12).
    """
    exponent_E2 = torch.arange(0, config.head_dim, 2, device=device).float() / config.head_dim
    frequency_E2 = 1.0 / (config.rope_theta**exponent_E2)
    scaling = config.rope_scaling
    if scaling is None:
        return frequency_E2
    turns_E2 = scaling.original_context * frequency_E2 / (2 * math.pi)
    kept_E2 = (turns_E2 - scaling.low_freq) / (scaling.high_freq - scaling.low_freq)
    kept_E2 = kept_E2.clamp(0.0, 1.0)
    return (1 - kept_E2) * frequency_E2 / scaling.factor + kept_E2 * frequency_E2


def rope_angles(config: ModelConfig, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [B, T, 1, head_dim / 2] in float32.

    Computed at every call, not kept in a buffer: it costs nothing beside a block, and a model that
    was made on the meta device has nothing to refill.
    """
    frequency_E2 = rope_frequencies(config, positions_BT.device)
    angle_BT1E2 = positions_BT[:, :, None, None].float() * frequency_E2
    return angle_BT1E2.cos(), angle_BT1E2.sin()


def rotate(x_BTHE: Tensor, cos_BT1E2: Tensor, sin_BT1E2: Tensor) -> Tensor:
    """RoPE in float32 or wider, given back in the type of `x`."""
    a, b = wide(x_BTHE).chunk(2, dim=-1)
    turned = torch.cat((a * cos_BT1E2 - b * sin_BT1E2, b * cos_BT1E2 + a * sin_BT1E2), dim=-1)
    return turned.type_as(x_BTHE)


class Step(NamedTuple):
    """What all blocks of one call share; without a mask the attention is causal."""

    positions_BT: Tensor
    angles: tuple[Tensor, Tensor]
    mask_B1TS: Tensor | None
    cache: KVCache | None


class Attention(nn.Module):
    """Causal attention with rotary positions; `kv_heads` < `heads` shares keys and values."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        qkv = (config.heads + 2 * config.kv_heads) * config.head_dim
        self.qkv = nn.Linear(config.dim, qkv, bias=False)
        self.out = nn.Linear(config.heads * config.head_dim, config.dim, bias=False)

    def forward(self, x_BTD: Tensor, step: Step, layer: int) -> Tensor:
        B, T, _ = x_BTD.shape
        heads_BTNE = self.qkv(x_BTD).view(B, T, -1, self.head_dim)
        q_BTHE, k_BTKE, v_BTKE = heads_BTNE.split((self.heads, self.kv_heads, self.kv_heads), dim=2)
        q_BHTE = rotate(q_BTHE, *step.angles).transpose(1, 2)
        k_BKTE = rotate(k_BTKE, *step.angles).transpose(1, 2)
        v_BKTE = v_BTKE.transpose(1, 2)
        if step.cache is not None:
            k_BKTE, v_BKTE = step.cache.update(layer, step.positions_BT, k_BKTE, v_BKTE)
        y_BHTE = F.scaled_dot_product_attention(
            q_BHTE,
            k_BKTE.to(q_BHTE.dtype),
            v_BKTE.to(q_BHTE.dtype),
            attn_mask=step.mask_B1TS,
            is_causal=step.mask_B1TS is None,
            enable_gqa=self.heads != self.kv_heads,
        )
        return self.out(y_BHTE.transpose(1, 2).reshape(B, T, -1))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020), with gate and up in one matrix."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_up = nn.Linear(config.dim, 2 * config.ffn_hidden, bias=False)
        self.down = nn.Linear(config.ffn_hidden, config.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate_BTF, up_BTF = self.gate_up(x_BTD).chunk(2, dim=-1)
        return self.down(F.silu(gate_BTF) * up_BTF)


Recompute = Literal["none", "selective", "full"]


def _policy(context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    kept = operation is torch.ops.aten.mm.default
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def _keep_linear_outputs() -> Any:
    return create_selective_checkpoint_contexts(_policy)


class Block(nn.Module):
    """One decoder block; normalisation before each sub-layer, as in GPT-3.

    recompute: what the backward pass computes again instead of keeping it: nothing; all but the
    outputs of linear layers (paper, section 2.4); all but the block's input.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn = SwiGLU(config)

        self.recompute: Recompute = "none"

    def forward(self, x_BTD: Tensor, step: Step, layer: int) -> Tensor:
        if self.recompute == "none" or not torch.is_grad_enabled():
            return self._forward(x_BTD, step, layer)
        kept = _keep_linear_outputs if self.recompute == "selective" else noop_context_fn
        y_BTD: Tensor = checkpoint(
            self._forward, x_BTD, step, layer, use_reentrant=False, context_fn=kept
        )
        return y_BTD

    def _forward(self, x_BTD: Tensor, step: Step, layer: int) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), step, layer)
        return x_BTD + self.ffn(self.ffn_norm(x_BTD))


class Llama(nn.Module):
    """Token ids to logits. Parameters are random from `nn.Linear` until `init_weights` is called
    or weights are loaded; build under ``torch.device("meta")`` to have shapes only."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        if config.tied_embeddings:
            self.output.weight = self.embedding.weight

    def initial_values(self, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Name and value of every parameter, in order: normal(0, 0.02), norms 1; the two
        projections that write into the residual stream are divided by sqrt(2 * layers), so its
        variance does not grow with depth (GPT-2). LLaMA's own initialisation is not published.

        Drawn in float32 on the CPU by a generator of its own, from the shapes alone: the same for
        the same seed on every device and however the model is sharded, and no effect on the global
        generators.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            value = torch.ones(parameter.shape, device="cpu")
            if parameter.ndim > 1:
                residual = name.endswith(("attention.out.weight", "ffn.down.weight"))
                std = 0.02 / math.sqrt(2 * self.config.layers) if residual else 0.02
                value.normal_(0.0, std, generator=generator)
            yield name, value

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Take the initial values.

        Raises:
            ValueError: a parameter has no memory (the meta device).
        """
        for name, value in self.initial_values(seed):
            parameter = self.get_parameter(name)
            if parameter.is_meta:
                raise ValueError(f"{name} is on the meta device: call to_empty(device=...) first")
            parameter.copy_(value)

    def hidden(
        self,
        tokens_BT: Tensor,
        *,
        segment_ids_BT: Tensor | None = None,
        positions_BT: Tensor | None = None,
        cache: KVCache | None = None,
        mask_BTS: Tensor | None = None,
    ) -> Tensor:
        """Final normalised states [B, T, D]; run `self.output` on the positions that are wanted.

        segment_ids_BT: tokens attend only to earlier tokens with their own id, so several
            documents or examples share a row without seeing each other. Reset `positions_BT` at
            each start to get the very states of a separate run.
        positions_BT: default 0, 1, ... or, with a cache, on from each row's length.
        cache: keys and values are written at the slots `positions_BT` and read from all slots up
            to the query's own.
        mask_BTS: boolean, true = visible; replaces the causal rule altogether.

        Raises ValueError for arguments that exclude each other, a full cache, and a cache while
        autograd records.
        """
        T = tokens_BT.shape[1]
        if segment_ids_BT is not None and (cache is not None or mask_BTS is not None):
            raise ValueError("segment_ids_BT goes with neither a cache nor mask_BTS")
        if positions_BT is None:
            positions_BT = torch.arange(T, device=tokens_BT.device)[None]
            if cache is not None:
                positions_BT = cache.lengths_B[:, None] + positions_BT
        if cache is not None:
            cache.reserve(positions_BT)
            if mask_BTS is None:
                slots_S = torch.arange(cache.used, device=tokens_BT.device)
                mask_BTS = slots_S <= positions_BT[:, :, None]
        elif segment_ids_BT is not None:
            same_BTS = segment_ids_BT[:, :, None] == segment_ids_BT[:, None, :]
            mask_BTS = same_BTS.tril()
        step = Step(
            positions_BT,
            rope_angles(self.config, positions_BT),
            None if mask_BTS is None else mask_BTS[:, None],
            cache,
        )
        x_BTD = self.embedding(tokens_BT)
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, step, layer)
        return self.norm(x_BTD)

    def forward(
        self,
        tokens_BT: Tensor,
        *,
        segment_ids_BT: Tensor | None = None,
        positions_BT: Tensor | None = None,
        cache: KVCache | None = None,
        mask_BTS: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V] at every position; arguments as in `hidden`."""
        x_BTD = self.hidden(
            tokens_BT,
            segment_ids_BT=segment_ids_BT,
            positions_BT=positions_BT,
            cache=cache,
            mask_BTS=mask_BTS,
        )
        return self.output(x_BTD)
