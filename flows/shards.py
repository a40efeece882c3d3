"""One shard group of a step: what `preparation` and `tokenizer` fan out to any work pool."""

from __future__ import annotations

import logging
import os

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.session import recorded
from tasks.corpus.execute import LocalExecutor
from tasks.corpus.fan_out import run_group
from tasks.runner import open_workplace


class ShardsParameters(BaseModel):
    """The form of the ``shards`` deployment; filled in by `preparation`, not by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Shard group")

    folder: str = Field(
        ..., title="Folder", description="Of the fan-out, relative to the store.", min_length=1
    )
    group: int = Field(..., title="Group", description="Which of its groups, from 0.", ge=0)
    workers: int | None = Field(
        None,
        title="Worker processes",
        description="Processes on the machine that takes the run; empty = one per core of it.",
        ge=1,
        le=256,
    )
    record_seconds: int = Field(
        120, title="Seconds per record", description="As in the corpus parameters.", ge=1
    )
    record_megabytes: int = Field(
        8192, title="Megabytes per worker", description="As in the corpus parameters.", ge=512
    )


@flow(name="shards")
def shards(parameters: ShardsParameters) -> int:
    """Work on one group's shards in the shared store; returns how many jobs it has.

    A shard that is done already, by whomever, is not done again.
    """
    with recorded("shards", parameters):
        executor = LocalExecutor(
            parameters.workers or len(os.sched_getaffinity(0)),
            record_seconds=float(parameters.record_seconds),
            megabytes=parameters.record_megabytes,
            given_up=_say,
        )
        place = open_workplace()
        data = place.settings.data
        return run_group(
            place.store.root,
            parameters.folder,
            parameters.group,
            executor,
            data.resolve() if data is not None else None,
        )


def _say(place: tuple[str, int], reason: str) -> None:
    """In this run's log; who started it tells it with the result."""
    logging.getLogger("arriero").warning("%s, record %d: %s; given up", *place, reason)
