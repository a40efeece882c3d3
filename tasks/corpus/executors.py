"""Which executor the parameters choose."""

from __future__ import annotations

from tasks.context import StageContext
from tasks.corpus.execute import Executor, LocalExecutor
from tasks.corpus.parameters import CorpusParameters


def choose_executor(
    parameters: CorpusParameters, context: StageContext, given_up: list[str]
) -> Executor:
    """The executor of ``parameters``; what is given up becomes an event and a line in ``given_up``.

    Raises:
        ValueError: the executor's extra is not installed.
    """

    def note(place: tuple[str, int], reason: str) -> None:
        file, offset = place
        context.log.warning("%s, record %d: %s; given up", file, offset, reason)
        context.events([("record_given_up", {"file": file, "offset": offset, "reason": reason})])
        given_up.append(f"{file}, record {offset}: {reason}; given up.")

    local = LocalExecutor(
        parameters.worker_processes(),
        record_seconds=float(parameters.record_seconds),
        megabytes=parameters.record_megabytes,
        given_up=note,
    )
    if parameters.executor == "ray":
        from tasks.corpus.ray_cluster import RayExecutor

        return RayExecutor(local, parameters.ray_address)
    if parameters.executor == "prefect":
        from tasks.corpus.fan_out import PrefectExecutor

        return PrefectExecutor(
            store=context.work.parent.parent,
            folder=context.work,
            groups=parameters.shard_groups,
            form={
                "workers": parameters.worker_processes(),
                "record_seconds": parameters.record_seconds,
                "record_megabytes": parameters.record_megabytes,
            },
            local=local,
        )
    return local
