"""Ladders of a known law, and checkpoint folders that hold their losses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.flops import parameter_counts
from tasks.scaling.law import LossLaw, Point
from tasks.scaling.points import LadderParameters

# Of the order of Hoffmann et al.'s fit, with a floor that the ladder below can see.
KNOWN = LossLaw(E=1.8, A=120.0, alpha=0.34, B=400.0, beta=0.37)
SIZES = (1e6, 4e6, 1.6e7, 6.4e7)
BUDGETS = (2e7, 1e8, 5e8)
# A law that tiny shapes on a vocabulary of 4,096 might have.
SMALL = LossLaw(E=2.5, A=150.0, alpha=0.4, B=900.0, beta=0.5)


def ladder(law: LossLaw = KNOWN, *, noise: float = 0.0, seed: int = 0) -> list[Point]:
    """4 x 3 losses of the law; noise: standard deviation of their logarithm."""
    random = np.random.default_rng(seed)
    return [
        Point(size, tokens, law.loss(size, tokens) * float(np.exp(noise * random.normal())))
        for size in SIZES
        for tokens in BUDGETS
    ]


def write_ladder(
    root: Path,
    law: LossLaw = SMALL,
    *,
    parameters: LadderParameters | None = None,
    sources: Sequence[tuple[str, int]] = (("c4", 3000), ("books", 1000)),
) -> dict[str, Path]:
    """Checkpoint folders of the default ladder, without weights, whose losses are the law's.

    The two sources differ by 1 nat around it, so that only their weighted mean is right.
    """
    folders = {}
    total = sum(tokens for _, tokens in sources)
    offset = sources[1][1] / total
    for name, run in (parameters or LadderParameters()).runs().items():
        folder = root / name
        folder.mkdir(parents=True)
        assert run.shape is not None
        trained = run.steps * run.global_batch * run.context
        loss = law.loss(parameter_counts(run.shape).without_embeddings, trained)
        losses = (loss + offset, loss + offset - 1)
        summary = {
            "tokens": trained,
            "steps": run.steps,
            "loss": loss - 0.1,
            "validation": {
                source: {"loss": value, "tokens": tokens, "perplexity": 1.0}
                for (source, tokens), value in zip(sources, losses, strict=True)
            },
        }
        manifest = {
            "parameters": {"context": run.context},
            "inputs": {"tokens": "a" * 64},
            "counts": {"epochs": {"c4": 0.5}},
        }
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "config.json").write_text(run.shape.model_dump_json())
        folders[name] = folder
    return folders
