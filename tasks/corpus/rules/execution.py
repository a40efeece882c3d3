"""Where the shards of a corpus are worked on: decides nothing about the result."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import BaseModel, Field


class ExecutionRules(BaseModel):
    """Where the shards of a corpus are worked on: decides nothing about the result."""

    workers: int | None = Field(
        None,
        title="Worker processes",
        description="Processes that read shards on each machine; empty = one per core.",
        ge=1,
        le=256,
        json_schema_extra={"recipe": False},
    )
    executor: Literal["processes", "prefect", "ray"] = Field(
        "processes",
        title="Executor",
        description="processes: on this machine. prefect: runs of the deployment `shards`, one for"
        " each shard group, on whatever work pool it has. ray: a Ray cluster (needs"
        " arriero[ray]).",
        json_schema_extra={"recipe": False},
    )
    shard_groups: int = Field(
        2,
        title="Shard groups",
        description="With the executor `prefect`: how many runs share the shards of a step.",
        ge=1,
        le=10_000,
        json_schema_extra={"recipe": False},
    )
    silent_minutes: int = Field(
        10,
        title="Silence of a shard group",
        description="With the executor `prefect`: minutes without a sign of life after which a run"
        " that works is given up, for its machine is gone.",
        ge=1,
        le=10_080,
        json_schema_extra={"recipe": False},
    )
    pending_hours: int = Field(
        24,
        title="Waiting of a shard group",
        description="With the executor `prefect`: hours that a run which a worker took may wait for"
        " its machine, as in the queue of a cluster.",
        ge=1,
        le=10_000,
        json_schema_extra={"recipe": False},
    )
    ray_address: str | None = Field(
        None,
        title="Ray address",
        description="With the executor `ray`: the cluster's address; empty = a local one.",
        json_schema_extra={"recipe": False},
    )

    raw_url: str | None = Field(
        None,
        title="URL of the raw dumps",
        description="fsspec URL of a folder with the sources' folders (commoncrawl/, books/ ...);"
        " its files are fetched shard by shard. Empty: corpus/ of the data folder. Credentials come"
        " from the environment, never from here.",
        pattern=r"^[a-z][a-z0-9+.-]*://[^@?#]*$",
        json_schema_extra={"recipe": False},
    )

    def worker_processes(self) -> int:
        """``workers``, or the cores this process may use."""
        return self.workers or len(os.sched_getaffinity(0))
