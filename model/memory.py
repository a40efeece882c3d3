"""Memory of training a model on one device, by formula, before anything is allocated.

    weights     4 N               fp32 in either precision; bf16 adds 2 N for the cast weights
    gradients   4 N
    optimizer   8 N               two AdamW moments
    activations n L (9 d + 3 k + 4 f) 4    fp32
                n L (13 d + 3 k + 4 f) 2   bf16
    masks       n L T b           where documents or examples are kept apart
    loss        12 G + 4 V d      G logits at a time in three tensors, gradient of the output head

N parameters, L layers, d width, k key/value width, f SwiGLU width, V vocabulary, T context,
n tokens of a forward pass, b bytes of a value (4 or 2). The activations are what autograd was seen
to keep, without recomputation. With ``RUNTIME`` the sum was 0.87 to 1.01 of the peak of six runs on
a CPU: rather too little than too much, so that nothing is refused that would fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.config import ModelConfig

GIB = 2**30
STATE_BYTES = 16  # of a parameter: weight, gradient, two moments, each fp32
LOGITS_AT_A_TIME = 4 * 1024 * 1024  # the loss makes no more of them at once: 16 MiB in fp32
RUNTIME = int(0.4 * GIB)  # interpreter and libraries of one process, or a CUDA context


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one process by what they hold."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    total: int

    def __str__(self) -> str:
        names = ("weights", "gradients", "optimizer", "activations", "loss")
        return ", ".join(f"{name} {getattr(self, name) / GIB:.3g}" for name in names)


def training_memory(
    config: ModelConfig,
    *,
    tokens: int,
    context: int,
    bf16: bool,
    masked: bool,
    gradients_stay: bool,
) -> TrainingMemory:
    """Memory of one process.

    tokens: of one forward pass. masked: attention stays inside documents or examples.
    gradients_stay: they exist before the backward pass (accumulation, several processes); they
    otherwise take the place of the activations that it frees.
    """
    n, cast = config.parameters, 2 * config.parameters if bf16 else 0
    value = 2 if bf16 else 4
    keys = config.kv_heads * config.head_dim
    wide = (13 if bf16 else 9) * config.dim + 3 * keys + 4 * config.ffn_hidden
    activations = tokens * config.layers * (wide + (context if masked else 0)) * value
    loss = (
        12 * min(LOGITS_AT_A_TIME, tokens * config.vocab_size) + 4 * config.vocab_size * config.dim
    )
    weights, gradients, optimizer = 4 * n + cast, 4 * n, 8 * n
    passing = activations + loss
    both = passing + gradients if gradients_stay else max(passing, gradients)
    total = weights + optimizer + both + RUNTIME
    return TrainingMemory(weights, gradients, optimizer, activations, loss, total)
