"""Which executor the parameters choose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from registry.settings import load_settings
from tasks.context import StageContext
from tasks.corpus.execute import Executor, LocalExecutor
from tasks.corpus.guard import Place, read_skips
from tasks.corpus.parameters import CorpusParameters


def choose_executor(parameters: CorpusParameters, context: StageContext) -> Executor:
    """The executor of ``parameters``; what is given up is logged and becomes an event.

    What is given up on other machines or was in an earlier attempt does not: `tell_given_up`.

    Raises:
        ValueError: the executor's extra is not installed.
    """

    def note(place: Place, reason: str) -> None:
        context.log.warning("%s, record %d: %s; given up", *place, reason)
        context.events([_event(place, reason)])

    local = LocalExecutor(
        parameters.worker_processes(),
        record_seconds=float(parameters.record_seconds),
        megabytes=parameters.record_megabytes,
        given_up=note,
        scratch=context.work / "scratch",
    )
    if parameters.executor == "ray":
        from tasks.corpus.ray_cluster import RayExecutor

        return RayExecutor(local, parameters.ray_address)
    if parameters.executor == "prefect":
        from tasks.corpus.fan_out import PrefectExecutor

        data = load_settings(check=False).data
        return PrefectExecutor(
            store=context.work.parent.parent,
            folder=context.work,
            groups=parameters.shard_groups,
            form={
                "workers": parameters.workers,  # None: the cores of the machine that takes the run
                "record_seconds": parameters.record_seconds,
                "record_megabytes": parameters.record_megabytes,
            },
            local=local,
            silent_seconds=60.0 * parameters.silent_minutes,
            pending_seconds=3600.0 * parameters.pending_hours,
            data=data.resolve() if data is not None else None,
        )
    return local


def tell_given_up(skips: Sequence[Path], context: StageContext) -> list[str]:
    """A sentence and an event for each record given up in these shards, by whomever and whenever.

    From the files that every executor and every attempt keeps: what this process saw is only its
    own part. An event that was told before is recorded once.

    Args:
        skips: the shards' files, in order; one without a record given up has none.
    """
    found = [row for path in skips for row in read_skips(path).items()]
    if found:
        context.events([_event(place, reason) for place, reason in found])
    return [_sentence(place, reason) for place, reason in found]


def _event(place: Place, reason: str) -> tuple[str, dict[str, str | int]]:
    return "record_given_up", {"file": place[0], "offset": place[1], "reason": reason}


def _sentence(place: Place, reason: str) -> str:
    return f"{place[0]}, record {place[1]}: {reason}; given up."
