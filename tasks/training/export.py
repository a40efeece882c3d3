"""A checkpoint as a Hugging Face folder, which transformers, vLLM and llama.cpp read."""

from __future__ import annotations

from pathlib import Path

import torch

from model.weights import export_hf, load_model
from tasks.context import StageContext, StageResult
from tasks.training.parameters import ExportParameters


def build_export(
    parameters: ExportParameters, checkpoint: Path, context: StageContext
) -> StageResult:
    """Write the Hugging Face form of ``checkpoint`` into ``context.out``."""
    model = load_model(checkpoint)
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[parameters.dtype]
    export_hf(model, checkpoint / "tokenizer.model", context.out, dtype=dtype)
    return StageResult(counts={"parameters": model.config.parameters})
