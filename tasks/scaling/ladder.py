"""The runs of a ladder, read from their checkpoint artifacts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from model.config import ModelConfig
from model.flops import flops_per_token, parameter_counts
from tasks.scaling.family import counted
from tasks.scaling.law import Point
from tasks.scaling.parameters import Count


class LadderRun(BaseModel):
    """One run. loss: validation, nats per token, mean over the tokens of all sources.

    epochs: passes over the source that was repeated most.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    shape: ModelConfig
    parameters: int
    without_embeddings: int
    tokens: int
    steps: int
    context: int
    loss: float
    training_loss: float
    validation_tokens: int
    epochs: float
    flops: float
    data: str

    def point(self, count: Count) -> Point:
        """The run as the law takes it."""
        return Point(size=counted(self.shape, count), tokens=self.tokens, loss=self.loss)


def read_ladder(folders: Mapping[str, Path]) -> list[LadderRun]:
    """Runs by name, smallest and shortest first.

    Raises:
        ValueError: all runs that have no validation loss, or are not comparable.
    """
    problems: list[str] = []
    runs: list[LadderRun] = []
    for name, folder in folders.items():
        summary = _json(folder / "summary.json")
        manifest = _json(folder / "manifest.json")
        loss, tokens = validation_loss(summary.get("validation") or {})
        if not tokens or not math.isfinite(loss):
            problems.append(f"{name}: no finite validation loss; hold text out (validation split)")
            continue
        shape = ModelConfig.model_validate(_json(folder / "config.json"))
        counts = parameter_counts(shape)
        context = int(manifest["parameters"]["context"])
        runs.append(
            LadderRun(
                name=name,
                shape=shape,
                parameters=counts.total,
                without_embeddings=counts.without_embeddings,
                tokens=int(summary["tokens"]),
                steps=int(summary["steps"]),
                context=context,
                loss=loss,
                training_loss=float(summary["loss"]),
                validation_tokens=tokens,
                epochs=max(manifest["counts"].get("epochs", {}).values(), default=0.0),
                flops=float(flops_per_token(shape, context).value) * int(summary["tokens"]),
                data=str(manifest["inputs"]["tokens"]),
            )
        )
    for field, title in (
        ("data", "token shards"),
        ("context", "sequence lengths"),
        ("validation_tokens", "numbers of validation tokens"),
    ):
        found = sorted({str(getattr(run, field)) for run in runs})
        if len(found) > 1:
            problems.append(f"losses are comparable for one of the {title}, these have {found}")
    if problems:
        raise ValueError("the ladder's runs do not hold:\n- " + "\n- ".join(problems))
    return sorted(runs, key=lambda run: (run.parameters, run.tokens, run.name))


def validation_loss(validation: Mapping[str, Mapping[str, float]]) -> tuple[float, int]:
    """Mean over all sources' tokens, and their number; ``validation`` of a summary.json."""
    tokens = sum(int(row["tokens"]) for row in validation.values())
    if not tokens:
        return math.nan, 0
    total = math.fsum(row["loss"] * row["tokens"] for row in validation.values())
    return total / tokens, tokens


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
