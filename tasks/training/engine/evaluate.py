"""Validation loss and perplexity per source, on text that training never sees.

Each token but a source's first is predicted once, in consecutive windows of the run's context.
Batches are dealt out to the ranks; sums are added over ranks in a fixed order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from tasks.training.engine.config import EngineConfig
from tasks.training.engine.data import Batch, instruction_batch, token_batch
from tasks.training.engine.distributed import stop_together, sum_over_ranks

INSTRUCTIONS = "instructions"


@torch.no_grad()
def validation_losses(
    module: torch.nn.Module,
    config: EngineConfig,
    *,
    rank: int,
    device: torch.device,
    together: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
    beat: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Source -> {"loss": nats per token, "perplexity", "tokens"}.

    together: a forward pass needs all ranks (sharded models). A rank that has no batch left goes
    through one that counts nothing.

    Raises:
        StopRequested: some rank's ``stop_requested`` became true.
    """

    def scored(batch: Batch) -> float:
        b = batch.to(device)
        return float(module(b.tokens_BT, b.targets_BT, b.mask_BT, b.segment_ids_BT, b.positions_BT))

    sums: dict[str, torch.Tensor] = {}
    index, batch = -1, None
    for index, (source, batch) in enumerate(_batches(config)):
        total = sums.setdefault(source, torch.zeros(2, dtype=torch.float64))
        if index % config.world == rank:
            values = [scored(batch), float(batch.mask_BT.sum())]
            total += torch.tensor(values, dtype=torch.float64)
        beat()
        if index % config.world == config.world - 1:
            stop_together(stop_requested(), device)
    if together and batch is not None and index % config.world < rank:  # of the last, begun round
        scored(batch)
    stop_together(stop_requested(), device)
    results = {}
    for source, total in sums.items():
        loss_sum, tokens = sum_over_ranks(total.to(device)).tolist()
        mean = loss_sum / max(tokens, 1)
        results[source] = {
            "loss": mean,
            "perplexity": math.exp(min(mean, 700.0)),  # exp(709) is the largest double
            "tokens": int(tokens),
        }
    return results


def _batches(config: EngineConfig) -> Iterator[tuple[str, Batch]]:
    if config.mode == "pretrain":
        yield from _token_batches(config)
        return
    folder = config.data / "validation"
    if not (folder / "input_ids.npy").exists():
        return
    names = ("input_ids", "segment_ids", "positions", "loss_mask")
    arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in names}
    for start in range(0, arrays["input_ids"].shape[0], config.micro_batch):
        rows = {n: np.asarray(a[start : start + config.micro_batch]) for n, a in arrays.items()}
        yield INSTRUCTIONS, instruction_batch(rows, config.context)


def _token_batches(config: EngineConfig) -> Iterator[tuple[str, Batch]]:
    summary = json.loads((config.data / "tokens.json").read_text(encoding="utf-8"))
    width, dtype = config.context, np.dtype(summary["dtype"]).newbyteorder("<")
    bos = int(summary["bos_id"]) if config.mask_documents else None
    for source, counts in summary["splits"].get("validation", {}).items():
        available = int(counts["tokens"])
        limit = config.validation_tokens or available
        targets = min(available - 1, limit)
        if targets < 1:
            continue  # no text of this source was held out: it has no row in the results
        path = config.data / "validation" / f"{source}.bin"
        tokens = np.memmap(path, dtype=dtype, mode="r", shape=(available,))
        for start in range(0, targets, width * config.micro_batch):
            stop = min(start + width * config.micro_batch, targets)
            yield source, _padded_batch(np.asarray(tokens[start : stop + 1]), width, bos)


def _padded_batch(ids: np.ndarray, width: int, bos: int | None) -> Batch:
    """Consecutive windows of ``ids``; the last one is padded and its padding masked."""
    targets = len(ids) - 1
    rows = -(-targets // width)
    padded = np.zeros(rows * width + 1, dtype=np.int64)
    padded[: len(ids)] = ids
    windows = np.stack([padded[r * width : r * width + width + 1] for r in range(rows)])
    valid_BT = (torch.arange(rows * width) < targets).view(rows, width)
    return replace(token_batch(windows, bos), mask_BT=valid_BT)
