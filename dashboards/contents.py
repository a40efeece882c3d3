"""What the pages show of artifacts' small JSON files: funnels, mixtures, curves, summaries.

The files are input like any other: what does not look as agreed raises ``ContentError`` with the
file's name, and a page shows that message in its place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from registry.artifacts import ArtifactRef, Store

T = TypeVar("T")
FROZEN = ConfigDict(frozen=True, extra="ignore")
LARGEST_JSON = 64 * 2**20  # bytes; a larger file is not one of the small ones read here
CURVE_POINTS = 400
TABLE_POINTS = 24


class ContentError(ValueError):
    """A file of an artifact is not what it should be; the message names it."""


class FunnelStep(BaseModel):
    """What one filter let through of one source.

    ``joined`` documents became part of another one, as answers do of their question's page.
    """

    model_config = FROZEN

    source: str
    filter: str
    documents_in: int = Field(ge=0)
    documents_out: int = Field(ge=0)
    joined: int = Field(default=0, ge=0)
    characters_in: int = Field(default=0, ge=0)
    characters_out: int = Field(default=0, ge=0)
    rejected: dict[str, int] = Field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """Documents let through, alone or joined, over documents in; None when nothing came in."""
        if not self.documents_in:
            return None
        return (self.documents_out + self.joined) / self.documents_in

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Reasons of rejection, the most frequent first."""
        return sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))


class SourceFunnel(BaseModel):
    """All filters of one source in order."""

    model_config = FROZEN

    source: str
    steps: list[FunnelStep]

    @property
    def documents_in(self) -> int:
        """What the first filter was given."""
        return self.steps[0].documents_in

    @property
    def documents_out(self) -> int:
        """What the last filter let through."""
        return self.steps[-1].documents_out

    @property
    def characters_out(self) -> int:
        """Characters that the last filter let through."""
        return self.steps[-1].characters_out

    @property
    def rejections(self) -> list[tuple[str, int]]:
        """Reasons over all filters, the most frequent first."""
        total: dict[str, int] = {}
        for step in self.steps:
            for reason, number in step.rejected.items():
                total[reason] = total.get(reason, 0) + number
        return sorted(total.items(), key=lambda item: (-item[1], item[0]))


class ShardFunnel(SourceFunnel):
    """All filters of one shard of a source in order."""

    shard: int = Field(ge=0)


class _ShardStep(FunnelStep):
    """A row of ``funnel_shards.json``."""

    shard: int = Field(ge=0)


class Mixture(BaseModel):
    """Weights by source, sum 1, beside the paper's Table 1."""

    model_config = FROZEN

    weights: dict[str, float]
    table1: dict[str, float] = Field(default_factory=dict)
    missing: list[str] = Field(default_factory=list)
    renormalised: bool = False


class Series(BaseModel):
    """One line of a chart."""

    model_config = FROZEN

    name: str
    steps: list[int]
    values: list[float]


class Curve(BaseModel):
    """Losses of one training run over optimizer steps (nats per token), decimated for a chart.

    ``points`` counts the training losses before decimation; ``table`` holds rows
    ``(step, loss, learning rate)`` evenly spread, the last one included.
    """

    model_config = FROZEN

    loss: Series
    validation: list[Series]
    points: int
    table: list[tuple[int, float, float | None]]
    tokens: int | None
    tokens_per_s: float | None


def funnel(store: Store, ref: ArtifactRef) -> list[SourceFunnel]:
    """``funnel.json`` by source, in the file's order."""
    path = store.path(ref) / "funnel.json"
    by_source: dict[str, list[FunnelStep]] = {}
    for step in parse(path, TypeAdapter(list[FunnelStep])):
        by_source.setdefault(step.source, []).append(step)
    return [SourceFunnel(source=source, steps=steps) for source, steps in by_source.items()]


def funnel_by_shard(store: Store, ref: ArtifactRef) -> list[ShardFunnel]:
    """``funnel_shards.json`` by source and shard; [] for an artifact that keeps none."""
    path = store.path(ref) / "funnel_shards.json"
    if not path.is_file():
        return []
    by_shard: dict[tuple[str, int], list[FunnelStep]] = {}
    for row in parse(path, TypeAdapter(list[_ShardStep])):
        by_shard.setdefault((row.source, row.shard), []).append(row)
    return [
        ShardFunnel(source=source, shard=shard, steps=list(steps))
        for (source, shard), steps in by_shard.items()
    ]


def mixture(store: Store, ref: ArtifactRef) -> Mixture:
    """``mixture.json`` of a corpus."""
    return parse(store.path(ref) / "mixture.json", TypeAdapter(Mixture))


def summary(store: Store, ref: ArtifactRef) -> dict[str, Any]:
    """``summary.json`` of a checkpoint."""
    return parse(store.path(ref) / "summary.json", TypeAdapter(dict[str, Any]))


def curve(store: Store, ref: ArtifactRef) -> Curve | None:
    """Losses of a checkpoint's training; None when it keeps no metrics."""
    return read_curve(store.path(ref) / "logs" / "metrics.jsonl")


def live_curve(store: Store, recipe: str) -> Curve | None:
    """Losses so far of a training that has not published yet; None when there are none."""
    if not recipe.isalnum():
        return None
    return read_curve(store.root / "work" / recipe / "metrics.jsonl")


def read_curve(path: Path) -> Curve | None:
    """A ``metrics.jsonl``; a last line that is cut off (a kill, a write under way) is left out."""
    if not path.is_file():
        return None
    losses: list[tuple[int, float]] = []
    rates: dict[int, float] = {}
    validation: dict[str, list[tuple[int, float]]] = {}
    last: dict[str, Any] = {}
    for line in lines(path):
        step = line["step"]
        loss = number(line.get("loss"))
        if loss is not None:
            losses.append((step, loss))
            last = line
            rate = number(line.get("learning_rate"))
            if rate is not None:
                rates[step] = rate
        for name, value in line.items():
            found = number(value)
            if name.startswith("validation_loss.") and found is not None:
                source = name.removeprefix("validation_loss.")
                validation.setdefault(source, []).append((step, found))
    if not losses:
        return None
    tokens, speed = number(last.get("tokens")), number(last.get("tokens_per_s"))
    return Curve(
        loss=_series("training", losses),
        validation=[_series(name, points) for name, points in sorted(validation.items())],
        points=len(losses),
        table=[(step, loss, rates.get(step)) for step, loss in _spread(losses, TABLE_POINTS)],
        tokens=None if tokens is None else int(tokens),
        tokens_per_s=speed,
    )


def decimate(points: list[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most ``most`` points: each bucket's lowest and highest, so that spikes stay visible."""
    if most < 2 or len(points) <= most:
        return points
    buckets = most // 2
    kept: list[tuple[int, float]] = []
    for place in range(buckets):
        bucket = points[place * len(points) // buckets : (place + 1) * len(points) // buckets]
        ends = {min(bucket, key=lambda p: p[1]), max(bucket, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def _spread(points: list[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """Every n-th point, the first and the last among them."""
    if len(points) <= most:
        return points
    places = {round(place * (len(points) - 1) / (most - 1)) for place in range(most)}
    return [points[place] for place in sorted(places)]


def _series(name: str, points: list[tuple[int, float]]) -> Series:
    kept = decimate(points, CURVE_POINTS)
    return Series(name=name, steps=[p[0] for p in kept], values=[p[1] for p in kept])


def number(value: Any) -> float | None:
    """A finite number, else None (the engine writes null for what is not finite)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def lines(path: Path) -> Iterable[dict[str, Any]]:
    """Lines of a ``metrics.jsonl`` that have a step; what is no such line is left out."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in handle:
            try:
                value = json.loads(line)
            except ValueError:
                continue  # cut off by a kill; the engine begins a new line after it
            if isinstance(value, dict) and type(value.get("step")) is int:
                yield value


def parse(path: Path, adapter: TypeAdapter[T]) -> T:
    """One small JSON file as the adapter's type.

    Raises:
        ContentError: it cannot be read, is too large, or is not as agreed.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_JSON:
            raise ContentError(f"{path.name}: {size} bytes are too many to show")
        return adapter.validate_json(path.read_bytes())
    except OSError as error:
        raise ContentError(f"{path.name}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ContentError(f"{path.name}: {where}: {first['msg']}") from error
