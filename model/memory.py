"""Memory of training a model on one device, by formula, before anything is allocated.

    weights       4 N / s               fp32; bf16 without shards adds 2 N for the cast weights
    gradients     4 N / s               whole (4 N more) while a sharded model accumulates
    optimizer     8 N / s               two AdamW moments
    activations   n L (9 d + 3 k + 4 f) 4           fp32
                  n L (13 d + 3 k + 4 f) 2          bf16: the residual stream is fp32
                  n L (11 d + 3 k + 4 f) 2          bf16, sharded: the residual stream is bf16
      selective   n L (x + (3 d + 2 k + 2 f) b)     outputs of linear layers (paper, section 2.4)
      full        n L x                             inputs of blocks, x = d values of the stream
    recomputed    what a block has beside that, and 2 f b + x for its backward pass
    masks         n L T b               where documents or examples are kept apart
    loss          12 G + b V d          G logits at a time in three tensors, gradient of the head
    gathered      b (R + B)             sharded: R embedding, head and last norm; B one block
    communication (b + 4) B + 4 B / s   sharded: the next block, its fp32 gradients, their sum; or
                  (b + 4) R             those of the root, where activations and loss are less

N parameters, L layers, d width, k key/value width, f SwiGLU width, V vocabulary, T context,
n tokens of a forward pass, b bytes of a value (4 or 2; the head's gradient is 4 unless sharded),
s processes that share one copy (DDP: 1; FSDP2: all; HSDP: those of a node). Loss and recomputed
block are not there at the same time. The last norm and the gradient of its output (3 d n values)
are left out, the loss is counted higher than it was seen (8 G). The total is within 10 % of torch's
memory tracker on small shapes (the tests). With ``RUNTIME`` it was 0.87 to 1.01 of the peak of six
runs on a CPU: rather too little than too much, so that nothing is refused that would fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.config import ModelConfig

GIB = 2**30
STATE_BYTES = 16  # of a parameter: weight, gradient, two moments, each fp32
LOGITS_AT_A_TIME = 4 * 1024 * 1024  # the loss makes no more of them at once: 16 MiB in fp32
RUNTIME = int(0.4 * GIB)  # interpreter and libraries of one process, or a CUDA context

Recompute = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one process by what they hold; `weights` has the `cast` ones in it."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    total: int
    cast: int = 0
    recomputed: int = 0
    gathered: int = 0
    communication: int = 0

    def __str__(self) -> str:
        always = ("weights", "gradients", "optimizer", "activations", "loss")
        names = [*always, *(n for n in ("recomputed", "gathered", "communication") if self[n])]
        return ", ".join(f"{name} {self[name] / GIB:.3g}" for name in names)

    def __getitem__(self, name: str) -> int:
        size: int = getattr(self, name)
        return size


def training_memory(
    config: ModelConfig,
    *,
    tokens: int,
    context: int,
    bf16: bool,
    masked: bool,
    gradients_stay: bool,
    shard: int = 1,
    recompute: Recompute = "none",
    accumulates: bool = False,
) -> TrainingMemory:
    """Memory of one process.

    tokens: of one forward pass. masked: attention stays inside documents or examples.
    gradients_stay: they exist before the backward pass (accumulation, several processes); they
    otherwise take the place of the activations that it frees.
    shard: processes that share one copy of the model. accumulates: of a sharded model, whose
    gradients are whole on each process until the last of several micro-batches.
    """
    if shard < 1:
        raise ValueError(f"shard is {shard}, must be at least 1")
    n, sharded = config.parameters, shard > 1
    value = 2 if bf16 else 4
    own = -(-n // shard)
    cast = 2 * n if bf16 and not sharded else 0
    kept, recomputed = _activations(config, tokens, context, bf16, masked, sharded, recompute)
    head = (value if sharded else 4) * config.vocab_size * config.dim
    loss = 12 * min(LOGITS_AT_A_TIME, tokens * config.vocab_size) + head
    root = config.embedding_parameters + config.dim
    block = (n - root) // config.layers
    gathered = value * (root + block) if sharded else 0
    communication = (value + 4) * block + 4 * -(-block // shard) if sharded else 0
    weights, gradients, optimizer = 4 * own + cast, 4 * own, 8 * own
    if sharded and accumulates:
        gradients += 4 * n
    passing = kept + max(loss, recomputed)
    if sharded:  # at the end: gradients of embedding and head, and their fp32 copies to add up
        communication += max(0, (value + 4) * root - passing)
    if gradients_stay or sharded:
        both = passing + gradients
    else:
        both = max(passing, gradients + recomputed)
    return TrainingMemory(
        weights,
        gradients,
        optimizer,
        kept,
        loss,
        weights + optimizer + both + gathered + communication + RUNTIME,
        cast,
        recomputed,
        gathered,
        communication,
    )


def _activations(
    config: ModelConfig,
    tokens: int,
    context: int,
    bf16: bool,
    masked: bool,
    sharded: bool,
    recompute: Recompute,
) -> tuple[int, int]:
    """Bytes kept for the backward pass in all layers, and those of one block's recomputation."""
    value = 2 if bf16 else 4
    d, f, k = config.dim, config.ffn_hidden, config.kv_heads * config.head_dim
    stream = d * (2 if bf16 and sharded else 4)
    wide = 9 if not bf16 else 11 if sharded else 13
    whole = (wide * d + 3 * k + 4 * f + (context if masked else 0)) * value
    if recompute == "none":
        return tokens * config.layers * whole, 0
    linear = (3 * d + 2 * k + 2 * f) * value if recompute == "selective" else 0
    # Of the kept outputs the backward pass reads those of qkv and gate_up; norms read the input,
    # but in bf16 of a sharded model only its fp32 copy.
    read = (d + 2 * k + 2 * f) * value if recompute == "selective" else 0
    read += 0 if bf16 and sharded else stream
    backward = 2 * f * value + stream
    kept = tokens * config.layers * (stream + linear)
    return kept, tokens * (whole - read + backward)


def inference_weights(config: ModelConfig, int8: bool) -> int:
    """Bytes of the weights in fp16; int8 has the blocks' matrices in one byte a value and an fp16
    scale per output row, embedding, head and norms in fp16."""
    if not int8:
        return 2 * config.parameters
    d, f, width = config.dim, config.ffn_hidden, config.head_dim
    qkv = (config.heads + 2 * config.kv_heads) * width
    matrices = config.layers * (d * qkv + config.heads * width * d + 3 * d * f)
    rows = config.layers * (qkv + d + 2 * f + d)
    return matrices + 2 * rows + 2 * (config.parameters - matrices)


def inference_working(config: ModelConfig, rows: int, prompt: int) -> int:
    """Bytes in use during a pass in fp16 beside weights and cache, the larger of prefilling one
    prompt and of decoding a token of each row: stream, norm and SwiGLU of the widest layer (2 d +
    4 f values a token), logits in fp16 and fp32. Attention is taken to make no scores (flash)."""
    token = 2 * (2 * config.dim + 4 * config.ffn_hidden)
    logits = 6 * config.vocab_size
    return max(prompt * token + logits, rows * (token + logits))
