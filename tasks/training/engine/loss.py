"""Cross-entropy over the vocabulary, in chunks of tokens.

Legend: B batch, T positions, D model width, V vocabulary, N tokens (B*T), C tokens of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from model.llama import Llama, wide
from model.memory import LOGITS_AT_A_TIME

CHUNK_LOGITS = LOGITS_AT_A_TIME


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of token losses; its gradients are made in the forward pass, chunk by chunk.

    The loss is linear in the incoming gradient (a scalar), so the gradients can be computed while
    a chunk's logits are at hand: each logit is computed once, and [N, V] never exists.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        mask_N: torch.Tensor,
        wanted: bool,
    ) -> torch.Tensor:
        grad_x_ND = torch.empty_like(x_ND) if wanted else None
        dtype = torch.promote_types(weight_VD.dtype, torch.float32)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=dtype) if wanted else None
        mixed = torch.is_autocast_enabled(x_ND.device.type) or weight_VD.dtype != dtype
        loss = torch.zeros((), dtype=dtype, device=x_ND.device)
        size = max(CHUNK_LOGITS // weight_VD.shape[0], 16)
        for start in range(0, x_ND.shape[0], size):
            chunk = slice(start, start + size)
            x_CD, target_C1, mask_C = x_ND[chunk], targets_N[chunk, None], mask_N[chunk]
            logp_CV = wide(F.linear(x_CD, weight_VD)).log_softmax(dim=-1)
            loss = loss - (logp_CV.gather(1, target_C1)[:, 0] * mask_C).sum()
            if grad_x_ND is not None and grad_weight_VD is not None:
                dlogits_CV = logp_CV.exp_()
                dlogits_CV.scatter_add_(1, target_C1, dlogits_CV.new_full(target_C1.shape, -1.0))
                dlogits_CV *= mask_C[:, None]
                dlogits_CV = dlogits_CV.to(weight_VD.dtype)
                grad_x_ND[chunk] = dlogits_CV @ weight_VD
                if mixed:  # chunks are added in fp32
                    grad_weight_VD += dlogits_CV.t() @ x_CD
                else:
                    grad_weight_VD.addmm_(dlogits_CV.t(), x_CD)
        ctx.save_for_backward(grad_x_ND, grad_weight_VD)
        ctx.weight_dtype = weight_VD.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> Any:
        (scale,) = grad_outputs
        grad_x_ND, grad_weight_VD = ctx.saved_tensors
        # .to: the gradient keeps the dtype of its tensor (bf16 activations under autocast).
        grad_weight_VD = (grad_weight_VD * scale).to(ctx.weight_dtype)
        return grad_x_ND * scale.to(grad_x_ND.dtype), grad_weight_VD, None, None, None


def summed_loss(
    x_BTD: torch.Tensor, weight_VD: torch.Tensor, targets_BT: torch.Tensor, mask_BT: torch.Tensor
) -> torch.Tensor:
    """Sum (not mean) of the cross-entropy in nats over the positions whose mask is 1.

    A fully masked batch gives 0 and zero gradients, never 0/0.
    """
    loss: torch.Tensor = _ChunkedCrossEntropy.apply(
        x_BTD.flatten(0, 1),
        weight_VD,
        targets_BT.flatten(),
        mask_BT.flatten().float(),
        torch.is_grad_enabled(),  # inside forward it never is
    )
    return loss


class LossModule(nn.Module):
    """The model and its loss as one module, so that one ``forward`` is wrapped (DDP, autocast)."""

    model: Llama

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens_BT: torch.Tensor,
        targets_BT: torch.Tensor,
        mask_BT: torch.Tensor,
        segment_ids_BT: torch.Tensor | None = None,
        positions_BT: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Summed loss over the valid targets, a scalar in fp32 (in fp64 for such a model)."""
        x_BTD = self.model.hidden(
            tokens_BT, segment_ids_BT=segment_ids_BT, positions_BT=positions_BT
        )
        return summed_loss(x_BTD, self.model.output.weight, targets_BT, mask_BT)
